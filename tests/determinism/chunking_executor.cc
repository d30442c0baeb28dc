#include "tests/determinism/chunking_executor.h"

#include <algorithm>

namespace latentd {

void ChunkingExecutor::Run(const StepPlan& plan, const LogitsSink& sink,
                           std::vector<EntryOutcome>* outcomes) {
  outcomes->assign(plan.entries.size(), EntryOutcome::kDone);
  for (int64_t begin = 0;; begin += chunk_) {
    StepPlan piece;
    std::vector<size_t> origin;
    for (size_t i = 0; i < plan.entries.size(); ++i) {
      const PlanEntry& entry = plan.entries[i];
      const int64_t count = std::min(chunk_, entry.num_tokens() - begin);
      if (count <= 0) continue;
      PlanEntry& part = piece.entries.emplace_back(entry);
      part.first_position += begin;
      part.token_ids =
          entry.token_ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
      origin.push_back(i);
      longest_chunk_ = std::max(longest_chunk_, count);
    }
    if (piece.empty()) return;
    most_entries_ = std::max(most_entries_, static_cast<int64_t>(piece.entries.size()));
    std::vector<EntryOutcome> done;
    inner_->Run(
        piece,
        [&](size_t entry, int64_t position, std::span<float> logits) {
          sink(origin[entry], position, logits);
        },
        &done);
    for (size_t i = 0; i < done.size(); ++i) {
      if (done[i] != EntryOutcome::kDone) (*outcomes)[origin[i]] = done[i];
    }
  }
}

}  // namespace latentd
