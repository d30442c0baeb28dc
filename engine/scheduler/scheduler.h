// Iteration-level scheduling over the paged latent cache (architecture.md, "Scheduling"): deciding
// is separate from doing. Plan(now) is a pure function of this object's state; nothing here touches
// a device, a thread or a clock.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "cache/block_layout.h"
#include "engine/scheduler/step_plan.h"

namespace latentd {

class BlockPool;
class PrefixIndex;

// Measured cost of computing one token at position p: token_us + position_us · p. On top, base_us
// for each step whatever it computes, to read the weights once: no part of a step's time budget.
struct CostModel {
  double token_us = 0;
  double position_us = 0;
  double base_us = 0;
};

struct SchedulerOptions {
  int64_t max_num_seqs = 64;  // sequences in one step
  // Tokens in one step; > max_num_seqs (start-up asks for 64 more).
  int64_t max_num_batched_tokens = 512;
  int64_t step_us = 250'000;  // estimated time budget of a step's tokens
  int64_t max_context = 0;    // tokens: min(model, --max-model-len); 0: what the pool holds
  int64_t max_waiting = 512;  // sequences that have not run yet
  int64_t priority_aging_us = 10'000'000;  // age that outweighs one priority level
  int64_t stall_timeout_us = 60'000'000;   // paused for so long: cancelled
  CostModel cost;  // as measured at start; corrected by what Complete is told
  // Full width, then what to fall back to when the share of the pool in use reaches 80, 90 and 95
  // %. Empty: a sequence keeps the width that it came with.
  std::vector<std::pair<int64_t, int64_t>> width_ladder = {};  // (w_q, w_kv)
  bool prefix_reuse = true;  // keep full blocks for sequences with the same leading tokens
  uint64_t model_fingerprint[2] = {0, 0};  // separates models in the keys of reusable blocks
};

// Ranks (w_q, w_kv).
using Ranks = std::pair<int64_t, int64_t>;

// A sequence is one choice of one request.
struct SequenceSpec {
  SequenceId id = 0;
  // Set by another thread; never planned again once seen. Null, or valid until Finish, and until
  // Complete if a step is in flight then.
  const std::atomic<bool>* cancelled = nullptr;
  int64_t first_logits_position = 0;  // prompt.size() − 1 unless prompt rows are wanted
  int64_t width_q = 0, width_kv = 0;
  std::vector<uint32_t> prompt;  // at least one token
  int64_t max_new_tokens = 0;    // 0: the prompt is only scored
  bool width_by_policy = false;  // SchedulerOptions::width_ladder decides at the first admission
  int32_t priority = 0;          // lower runs first
  TimePoint arrival;
  std::optional<TimePoint> deadline;
  uint64_t tenant_salt[2] = {0, 0};  // separates prefix reuse
};

struct SchedulerStats {
  int64_t running = 0;  // sequences that hold blocks and may be planned
  int64_t waiting = 0;  // not yet started, or preempted
  int64_t paused = 0;
  uint64_t preemptions = 0;
  uint64_t prefix_queries = 0, prefix_hits = 0;  // prompt tokens at first admission
  int64_t reusable_blocks = 0;  // kept prefixes no sequence uses; among the pool's allocated
  CostModel cost;               // that the next plan goes by
  double cost_factor = 1;       // its tokens and positions to those of SchedulerOptions
};

// Order: a sequence ranks by (arrival + priority · aging, then order of Add): FIFO within a
// priority, and a level counts as much as one aging interval of waiting. Admission goes from the
// best rank on, without overtaking; pressure takes paused sequences first, then the worst rank,
// never the best one that runs. So the best rank always progresses, and every sequence becomes the
// best in time.
//
// Owned by the engine thread. Block memory belongs to the pool, which outlives the scheduler.
class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, BlockPool* pool);
  ~Scheduler();

  // INVALID_ARGUMENT with the numbers if it can never fit; RESOURCE_EXHAUSTED if the queue is full.
  absl::Status Add(SequenceSpec spec);

  // Add would refuse because the queue is full.
  bool full() const;

  // What to run next. Empty when nothing can run. Every planned entry has its blocks.
  // The returned plan and its spans are valid until Complete().
  const StepPlan& Plan(TimePoint now);

  // The step ran: entry i's tokens are computed, unless cancelled[i]: such a sequence is never
  // planned again and its blocks are free. Blocks freed while the step was in flight rejoin the
  // pool now. Not needed (but allowed) after an empty plan. took_us: how long the step ran, which
  // corrects the estimates of later ones (cost_tracker.h); 0: not measured.
  void Complete(const std::vector<bool>& cancelled, double took_us = 0);

  // The token sampled after the last computed position; the next Plan may schedule it.
  // REQUIRES: the sequence is live, all its known tokens have been computed (a preemption since
  // then does not matter), and it has fewer than prompt + max_new_tokens. Reaching that frees its
  // blocks. Ignored once its cancel flag was seen.
  void Append(SequenceId id, uint32_t token);

  // Leaves for good (finished, cancelled, failed). Unknown ids are ignored. Frees its blocks, or
  // keeps the full ones as reusable prefixes. Every added sequence ends here or in expired or
  // stalled, also one that will not be planned again because its flag was seen or its last token is
  // known.
  void Finish(SequenceId id);

  // A reader that does not drain: the sequence is not planned while paused, is the first victim
  // under pressure, and is reported as stalled after stall_timeout.
  void SetPaused(SequenceId id, bool paused, TimePoint now);

  // The earliest time at which Plan() may act without any other call (a deadline or stall), if any.
  std::optional<TimePoint> NextWakeup() const;

  // The rung of width_ladder for a sequence admitted now. REQUIRES: there is a ladder.
  Ranks PolicyWidth() const;

  bool Contains(SequenceId id) const;
  SchedulerStats stats() const;
  // The blocks a sequence holds now; empty if none. Valid until the next call. For inspection.
  std::span<const uint32_t> BlockTable(SequenceId id) const;
  const PrefixIndex& prefix_index() const;
  // Reusable prefixes of one salt (or all when null) are dropped; returns blocks freed.
  uint64_t FlushCache(const uint64_t* tenant_salt);
  // Why each decision of the last Plan was made, one line each; recorded only when enabled.
  void set_explain(bool on);
  const std::vector<std::string>& explanation() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace latentd
