// One scheduler decision: what to compute next. Pure data; no device, no clock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

namespace latentd {

using TimePoint = std::chrono::steady_clock::time_point;
// Chosen by the scheduler's caller, unlike those of all sequences that have not left. An index: the
// scheduler keeps a table up to the largest, so ids are reused rather than counted up.
using SequenceId = uint64_t;

// Consecutive tokens of one sequence. Spans borrow from the scheduler until StepPlan's step is
// completed.
struct PlanEntry {
  SequenceId sequence = 0;
  int64_t first_position = 0;
  std::span<const uint32_t> token_ids;  // the tokens to compute, positions first_position …
  std::span<const uint32_t>
      block_table;  // granules; covers every position up to the last of this entry
  int64_t first_logits_position = 0;             // positions at and after it want a logits row
  int64_t width_q = 0, width_kv = 0;             // ranks this sequence runs at; 0: full
  const std::atomic<bool>* cancelled = nullptr;  // looked at between layers; may be null

  int64_t num_tokens() const { return static_cast<int64_t>(token_ids.size()); }
};

struct StepPlan {
  uint64_t step = 0;                // counts up from 1
  std::vector<PlanEntry> entries;   // decodes first, then prefill chunks
  std::vector<SequenceId> expired;  // their deadline passed; already removed and freed
  std::vector<SequenceId> stalled;  // paused beyond the stall timeout; already removed and freed
  bool empty() const { return entries.empty(); }
};

}  // namespace latentd
