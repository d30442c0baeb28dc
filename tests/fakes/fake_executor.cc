#include "tests/fakes/fake_executor.h"

#include <utility>

#include "kernels/core/check.h"

namespace latentd {

FakeExecutor::FakeExecutor(BlockPool* pool, FakeExecutorOptions options)
    : pool_(pool),
      options_(std::move(options)),
      logits_(static_cast<size_t>(options_.model.vocab_size)) {
  LATENTD_CHECK(pool->layout().row_bytes >= static_cast<int64_t>(sizeof(FakeSlot)));
}

void FakeExecutor::Run(const StepPlan& plan, const LogitsSink& sink,
                       std::vector<EntryOutcome>* outcomes) {
  outcomes->assign(plan.entries.size(), EntryOutcome::kDone);
  // All writes before all reads, as in a layer: an entry that writes into another's block shows.
  for (size_t i = 0; i < plan.entries.size(); ++i) (*outcomes)[i] = Write(plan.entries[i], i);
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    if ((*outcomes)[i] == EntryOutcome::kDone) Read(plan.entries[i], i, sink);
  }
  if (options_.clock != nullptr) options_.clock->Advance(options_.step_delay);
}

FakeSlot* FakeExecutor::Slot(const PlanEntry& entry, int64_t position) {
  const auto block_idx = static_cast<size_t>(position / kBlockTokens);
  LATENTD_CHECK(block_idx < entry.block_table.size());
  return reinterpret_cast<FakeSlot*>(
      pool_->Row(entry.block_table[block_idx], 0, position % kBlockTokens));
}

EntryOutcome FakeExecutor::Write(const PlanEntry& entry, size_t entry_idx) {
  const int64_t first = entry.first_position;
  uint64_t running =
      first == 0 ? FakeModel::Seed(entry.width_q, entry.width_kv) : Slot(entry, first - 1)->running;
  for (int64_t i = 0; i < entry.num_tokens(); ++i) {
    if (i == entry.num_tokens() / 2) {
      if (options_.mid_entry) options_.mid_entry(entry_idx);
      if (entry.cancelled != nullptr && entry.cancelled->load(std::memory_order_acquire)) {
        for (int64_t j = 0; j < entry.num_tokens(); ++j) Slot(entry, first + j)->running = ~running;
        return EntryOutcome::kCancelled;
      }
    }
    const FakeSlot slot =
        FakeModel::Next(running, entry.token_ids[static_cast<size_t>(i)], first + i);
    *Slot(entry, first + i) = slot;
    running = slot.running;
  }
  return EntryOutcome::kDone;
}

void FakeExecutor::Read(const PlanEntry& entry, size_t entry_idx, const LogitsSink& sink) {
  const int64_t end = entry.first_position + entry.num_tokens();
  if (entry.first_logits_position >= end) return;
  uint64_t seen = 0;
  for (int64_t position = 0; position < end; ++position) {
    seen = FakeModel::See(seen, *Slot(entry, position));
    if (position < entry.first_position || position < entry.first_logits_position) continue;
    options_.model.Logits(seen, logits_);
    sink(entry_idx, position, logits_);
  }
}

}  // namespace latentd
