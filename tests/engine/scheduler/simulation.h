// Random operations against the real scheduler and pool with the fake executor, and a naive model
// that computes each sequence alone with no cache. One seed decides everything, so a failure
// replays from it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cache/block_pool.h"
#include "cache/prefix_index.h"
#include "engine/scheduler/scheduler.h"
#include "tests/fakes/fake_executor.h"

namespace latentd {

// What was done and checked.
struct OperationCounts {
  int64_t events =
      0;              // calls from outside: add, finish, cancel, pause, resume, flush, time passing
  int64_t plans = 0;  // planned, run and completed
  int64_t tokens = 0;  // scheduled, each compared with the model
  // How often the rarer paths were taken, to see that they were.
  int64_t preemptions = 0, hit_tokens = 0, expired = 0, stalled = 0, cancelled_mid_step = 0;
  int64_t evictions = 0, refused = 0, generated = 0;
  int64_t total() const { return events + plans + tokens; }
  void Add(const OperationCounts& other);
};

// Thrown by a failed check.
struct Violation {
  std::string what;
};
void Require(bool holds, const char* what);

class Simulation {
 public:
  explicit Simulation(uint64_t seed);
  // Operates at random for about this many operations, then lets everything end and checks that the
  // pool is back in its first state.
  void Run(int64_t num_operations);
  const OperationCounts& counts() const { return counts_; }
  // Prints every plan's decisions and their reasons.
  void set_trace(bool on);

 private:
  // The model of one sequence.
  struct Live {
    SequenceSpec spec;             // the prompt is in tokens
    std::vector<uint32_t> tokens;  // known to the scheduler
    std::vector<uint64_t> seen;    // by position: hash of all tokens up to it
    uint64_t running = 0;
    int64_t prompt_tokens = 0, max_tokens = 0;
    int64_t computed = 0, high_water = 0;
    int64_t next_row = 0;             // next position whose logits are due
    std::optional<uint32_t> sampled;  // not yet appended
    int append_delay = 0;             // cycles it is held back
    std::pair<int64_t, uint64_t> rank;
    std::unique_ptr<std::atomic<bool>> flag;
    bool paused = false, ended = false, finished_in_step = false;
    bool width_settled = true;  // false: the policy decides at the first admission
    TimePoint stalls_at;
    int64_t plans_left_out = 0;  // though it could decode, or was the best of the running

    bool flagged() const { return spec.cancelled != nullptr && flag->load(); }
    int64_t known() const { return static_cast<int64_t>(tokens.size()); }
    bool has_work() const { return !ended && high_water < known(); }
  };
  using Held = std::set<SequenceId>;  // sequences with blocks
  static constexpr uint32_t kVocab = 32;

  // --- simulation.cc
  void DrawOptions();
  PageShape DrawShape();
  int64_t DrawWidth();
  int64_t Draw(int64_t first, int64_t last) {  // both included
    return std::uniform_int_distribution<int64_t>(first, last)(random_);
  }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }

  // --- simulation_events.cc
  void RandomEvent();
  void AddSequence();
  std::vector<uint32_t> DrawPrompt(int64_t num_tokens);
  void Learn(Live& live, uint32_t token);
  // What is known is of another width now.
  void SettleWidth(Live& live, const PlanEntry& entry);
  void Finish(SequenceId id);
  void TogglePause(Live& live);
  void Flush();
  Live* Pick();

  // --- simulation_steps.cc
  void Cycle();
  // What the scheduler is told of a step's duration: anything, as the plans must hold for it.
  double DrawTook_us();
  void OnRow(size_t entry_idx, int64_t position, std::span<const float> logits);
  void CompleteEntry(const PlanEntry& entry, bool cancelled);
  void AppendSampled(Live& live);
  void Drain();

  // --- simulation_checks.cc
  Held Holding() const;
  void CheckOverdue(const StepPlan& plan);
  void CheckEntries(const StepPlan& plan, const Held& held_before);
  void CheckEntry(const PlanEntry& entry, bool held_before);
  void CheckBudgets(const StepPlan& plan, const Held& held_before);
  void CheckPreemptions(const Held& held_before, const Held& held_after);
  void CheckAdmissions(const Held& held_before, const Held& held_after);
  void CheckProgress(const StepPlan& plan, const Held& held_after);
  // Granules that cancelled entries of the plan write. REQUIRES: the step is in flight.
  std::vector<uint32_t> WrittenByCancelled(const StepPlan& plan,
                                           const std::vector<bool>& cancelled) const;
  void CheckBlocks();
  void CheckPages(const std::vector<bool>& used);
  void CheckStats();

  std::mt19937_64 random_;
  std::mt19937_64 took_random_;  // its own, so that what else happens does not depend on it
  bool measured_ = false;        // steps have durations
  SchedulerOptions options_;
  std::vector<std::vector<uint32_t>> documents_;  // that prompts begin with
  double fault_probability_ = 0, cancel_in_step_ = 0;
  int64_t most_new_tokens_ = 1, most_live_ = 1;
  FakeModel model_;
  ManualClock clock_;
  std::unique_ptr<BlockPool> pool_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<FakeExecutor> executor_;

  std::map<SequenceId, Live> live_;
  std::vector<Live> gone_in_step_;  // finished while their step was in flight
  SequenceId next_id_ = 1;
  const StepPlan* plan_ = nullptr;  // in flight
  size_t most_held_ = 0;            // sequences that held blocks at a time
  OperationCounts counts_;
  bool trace_ = false, draining_ = false;
};

}  // namespace latentd
