// Runs step plans without a model: a computed token writes (token, position, running hash) into its
// slot of the real pool, and a logits row is a hash of every visible slot, read back through the
// block table. A wrong block, position or row, a stale table or a missed write changes the logits.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "cache/block_pool.h"
#include "engine/executor.h"
#include "tests/fakes/fake_model.h"
#include "tests/fakes/manual_clock.h"

namespace latentd {

struct FakeExecutorOptions {
  FakeModel model;
  ManualClock* clock = nullptr;  // advanced by step_delay in every step; may be null
  std::chrono::microseconds step_delay{1000};
  // Runs when half of entry i's tokens are written, before its cancel flag is looked at. May be
  // empty.
  std::function<void(size_t entry_idx)> mid_entry;
};

// Engine thread only. Borrows the pool.
class FakeExecutor : public Executor {
 public:
  FakeExecutor(BlockPool* pool, FakeExecutorOptions options);

  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override;
  int64_t vocab_size() const override { return options_.model.vocab_size; }

 private:
  FakeSlot* Slot(const PlanEntry& entry, int64_t position);
  // A cancelled entry leaves garbage in all its slots.
  EntryOutcome Write(const PlanEntry& entry, size_t entry_idx);
  void Read(const PlanEntry& entry, size_t entry_idx, const LogitsSink& sink);

  BlockPool* const pool_;
  const FakeExecutorOptions options_;
  std::vector<float> logits_;
};

}  // namespace latentd
