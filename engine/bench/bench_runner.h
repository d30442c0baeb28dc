// Runs one piece of benchmark work on an executor, without engine or doors. Of a row that is wanted
// an executor that draws gives the most likely token, and another its logits.
#pragma once

#include <cstdint>
#include <span>

#include "engine/bench/bench_cache.h"
#include "engine/bench/work.h"
#include "engine/executor.h"

namespace latentd {

// Computes `count` tokens of one sequence from first_position on; the last row is wanted, or none.
// Token ids are a fixed pattern below the vocabulary's size.
void RunChunk(Executor* executor, std::span<const uint32_t> table, int64_t first_position,
              int64_t count, bool want_last, const Width& width);

// The whole of `work`: a prefill in steps of step_tokens, or one decode step. Can be repeated: a
// repetition overwrites the slots that it wrote before.
// REQUIRES: cache.num_sequences() >= work.batch, tables cover depth + tokens.
void RunWork(Executor* executor, const BenchCache& cache, int64_t step_tokens,
             const BenchWork& work);

}  // namespace latentd
