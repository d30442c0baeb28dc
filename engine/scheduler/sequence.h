// The scheduler's own record of a sequence.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "cache/siphash.h"
#include "engine/scheduler/scheduler.h"
#include "kernels/mla_attention.h"

namespace latentd {

// Total order over sequences; the smallest goes first (see Scheduler).
struct Rank {
  int64_t virtual_arrival_us = 0;
  uint64_t order = 0;  // of Add
  auto operator<=>(const Rank&) const = default;
};

enum class SequenceState : uint8_t {
  kWaiting,  // holds no blocks
  kRunning,  // holds blocks for all its known tokens
  kEnded,    // holds no blocks, is in no list and waits for Finish
};

// Invariants: computed <= high_water <= tokens.size() <= max_tokens; table covers `computed`;
// the first `published` blocks are full, computed, and were offered to the prefix index.
struct Sequence {
  // What every step looks at stands first, in few cache lines.
  std::vector<uint32_t> tokens;  // known: prompt, then appended
  int64_t prompt_tokens = 0;
  size_t cls = 0;               // of its blocks, by its width
  int64_t max_tokens = 0;       // prompt + max_new_tokens
  int64_t computed = 0;         // leading tokens whose latents are in the blocks
  int64_t high_water = 0;       // the most ever computed: logits up to here were delivered
  std::vector<uint32_t> table;  // granules
  int64_t published = 0;
  uint64_t last_step = 0;  // in which it was planned
  SequenceState state = SequenceState::kWaiting;
  bool started = false;  // was admitted once
  bool paused = false;
  bool finished = false;  // by Finish while its step was in flight
  bool in_step = false;
  SequenceSpec spec;  // the prompt has moved to tokens
  Rank rank;
  std::vector<Hash128> keys;  // of leading full blocks, as far as they were needed
  TimePoint stalls_at;        // while paused

  int64_t known() const { return static_cast<int64_t>(tokens.size()); }
  int64_t pending() const { return known() - computed; }
  int64_t num_blocks() const { return static_cast<int64_t>(table.size()); }
  int64_t capacity() const { return num_blocks() * kBlockTokens; }
  bool has_room() const { return capacity() >= known(); }
  // One generated token to compute.
  bool decodes() const { return pending() == 1 && computed >= prompt_tokens && has_room(); }
  bool prefills() const { return pending() > 0 && has_room() && !decodes(); }
  // The last token of all is known but never computed: nothing is wanted after it.
  int64_t max_positions() const {
    return max_tokens > prompt_tokens ? max_tokens - 1 : prompt_tokens;
  }
  bool cancelled() const {
    return spec.cancelled != nullptr && spec.cancelled->load(std::memory_order_acquire);
  }
};

struct ByRank {
  bool operator()(const Sequence* a, const Sequence* b) const { return a->rank < b->rank; }
};

}  // namespace latentd
