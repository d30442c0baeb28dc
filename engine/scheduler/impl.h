// State and steps of the scheduler. Split over scheduler.cc (calls from outside), planning.cc (one
// plan), admission.cc (from waiting to running) and pressure.cc (growth, preemption, release).
#pragma once

#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cache/block_pool.h"
#include "cache/prefix_index.h"
#include "engine/scheduler/budget.h"
#include "engine/scheduler/cost_tracker.h"
#include "engine/scheduler/scheduler.h"
#include "engine/scheduler/sequence.h"

namespace latentd {

struct Scheduler::Impl {
  Impl(const SchedulerOptions& options, BlockPool* pool);

  // --- scheduler.cc
  absl::Status CheckFits(const SequenceSpec& spec) const;
  Sequence* Find(SequenceId id) const;
  // Out of every list and timer; blocks stay with it.
  void Detach(Sequence& s);
  // Never planned again; blocks go back. REQUIRES: it is in no step in flight.
  void End(Sequence& s);
  void CompleteEntry(Sequence& s, int64_t num_tokens, bool cancelled);

  // --- planning.cc
  void DropOverdue(TimePoint now);
  void DropCancelled();
  void PlanDecodes(StepBudget& budget);
  void PlanPrefills(StepBudget& budget);
  // Plans the leading part of its pending tokens that fits; false if nothing does.
  bool PlanChunk(Sequence& s, int64_t min_tokens, StepBudget& budget);
  void AddEntry(Sequence& s, int64_t num_tokens, StepBudget& budget);

  // --- admission.cc
  // The best waiting sequence that still wants to run.
  Sequence* NextWaiting();
  // Gives it blocks for its known tokens plus one, reusing known prefixes; false if it must wait.
  bool Admit(Sequence& s, const StepBudget& budget, int64_t min_tokens);
  // By the policy, for a sequence that has not run yet.
  void ChooseWidth(Sequence& s);
  Ranks PolicyWidth() const;
  // Granules of its reusable leading blocks, into hits.
  void LookUp(Sequence& s);
  // A better ranked sequence is about to compute the first block that the prefix index lacks.
  bool LeaderComputes(const Sequence& s) const;
  // Takes hits and new blocks; all or nothing.
  bool TakeBlocks(Sequence& s, int64_t num_blocks);
  int64_t Available(size_t cls) const;
  const Hash128& KeyOf(Sequence& s, int64_t block_idx);

  // --- pressure.cc
  // Blocks for every known token of the running ones, best rank first.
  void GrowRunning();
  bool Grow(Sequence& s);
  Sequence* Victim() const;
  int64_t HeldByPaused(size_t cls);
  void Preempt(Sequence& s);
  void ReleaseBlocks(Sequence& s);
  void Publish(Sequence& s);

  template <typename... Parts>
  void Explain(const Parts&... parts) {
    if (explain) explanation.push_back(absl::StrCat(parts...));
  }

  using Timer = std::tuple<TimePoint, uint64_t, Sequence*>;  // ties in order of Add

  const SchedulerOptions options;
  BlockPool* const pool;
  PrefixIndex index;
  const int64_t context;  // tokens of the longest sequence

  std::vector<std::unique_ptr<Sequence>> sequences;  // by id; null: no such sequence
  std::vector<Sequence*> running;                    // with blocks, not paused; by rank
  std::vector<Sequence*> paused;                     // with blocks, paused; by rank
  std::set<Sequence*, ByRank> waiting;               // without blocks, not paused
  std::set<Timer> deadlines, stalls;
  int64_t num_not_started = 0;
  uint64_t num_added = 0;
  bool decodes_left_out = false;   // of the last plan, for want of budget
  bool prefills_left_out = false;  // all of them, for want of slots
  SchedulerStats counters;         // only those that count up
  CostTracker costs;

  StepPlan plan;
  StepEstimate estimate;           // of plan
  std::vector<Sequence*> planned;  // of plan.entries
  bool in_flight = false;
  std::vector<std::unique_ptr<Sequence>>
      retired;                     // finished in flight; their blocks go at Complete
  std::vector<Sequence*> decodes;  // scratch of planning
  std::vector<uint32_t> hits;      // scratch of admission
  std::vector<uint32_t> held;      // scratch of HeldByPaused

  bool explain = false;
  std::vector<std::string> explanation;
};

// A list of sequences sorted by rank.
void InsertByRank(std::vector<Sequence*>& list, Sequence* s);
void RemoveByRank(std::vector<Sequence*>& list, Sequence* s);

}  // namespace latentd
