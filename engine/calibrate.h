// The cost model of the scheduler, measured at start.
#pragma once

#include "engine/engine.h"

namespace latentd {

// Times a few prefill tokens at position 0 and at depth and fits base_us + token_us + position_us ·
// p, of each the least of several samples (of one, where a step takes 200 ms). Uses one block of
// the pool, which is free again on return. REQUIRES: the pool has a free block; max_context >= 1.
CostModel MeasureCost(Executor* executor, BlockPool* pool, int64_t max_context, Clock* clock);

}  // namespace latentd
