// A scheduler with a small pool, the fake executor and a clock that stands still, driven step by
// step.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cache/block_pool.h"
#include "cache/prefix_index.h"
#include "engine/scheduler/scheduler.h"
#include "tests/fakes/fake_executor.h"

namespace latentd {

// What a plan schedules of one sequence.
struct Planned {
  SequenceId id;
  int64_t first_position, num_tokens;
  bool operator==(const Planned&) const = default;
};

class Harness {
 public:
  explicit Harness(int64_t num_blocks, const SchedulerOptions& options = {});
  Harness(PageShape shape, int64_t num_pages, const SchedulerOptions& options);

  // A sequence with its own random prompt (or this one), arriving now.
  static SequenceSpec Spec(SequenceId id, int64_t prompt_tokens, int64_t max_new_tokens);
  absl::Status TryAdd(SequenceSpec spec);
  void Add(SequenceSpec spec);  // REQUIRES that it is taken
  void Add(SequenceId id, int64_t prompt_tokens, int64_t max_new_tokens) {
    Add(Spec(id, prompt_tokens, max_new_tokens));
  }

  // Plans only; the step is then in flight.
  std::vector<Planned> Plan();
  // Runs the plan in flight, appends greedy tokens and finishes what is complete.
  void Run();
  std::vector<Planned> Step();
  // Steps until a plan is empty.
  void RunAll();

  // The greedy continuation of a prompt computed alone without cache.
  static std::vector<uint32_t> Solo(const SequenceSpec& spec);
  const std::vector<uint32_t>& output(SequenceId id) { return outputs_[id]; }
  int64_t num_blocks(SequenceId id) const {
    return static_cast<int64_t>(scheduler.BlockTable(id).size());
  }
  void Advance(int64_t us) { clock.Advance(std::chrono::microseconds(us)); }
  const StepPlan& plan() const { return *plan_; }

  ManualClock clock;
  std::unique_ptr<BlockPool> pool;
  Scheduler scheduler;
  std::function<void(size_t)> mid_entry;
  // Positions whose logits came, by sequence.
  std::map<SequenceId, std::vector<int64_t>> rows;

 private:
  FakeExecutor executor_;
  const StepPlan* plan_ = nullptr;
  std::map<SequenceId, std::vector<uint32_t>> outputs_;
  std::map<SequenceId, int64_t> prompt_tokens_, max_new_tokens_;
};

// Runs body in a child process; true if it aborted.
bool Aborts(const std::function<void()>& body);

}  // namespace latentd
