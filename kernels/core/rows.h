// The parallel loop of row operators.
#pragma once

#include <algorithm>
#include <functional>

#include "kernels/core/context.h"
#include "kernels/core/thread_pool.h"

namespace latentd {

// Calls body(i) for every row, on the pool once the work pays for waking it. Rows must be
// independent.
template <typename RowBody>
void ForEachRow(const Context& context, int64_t rows, int64_t elements_per_row,
                const RowBody& body) {
  constexpr int64_t kElementsPerChunk = 16384;  // some microseconds of work
  const int64_t grain =
      std::max<int64_t>(1, kElementsPerChunk / std::max<int64_t>(1, elements_per_row));
  const auto chunk = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) body(i);
  };
  ParallelFor(context.pool, rows, grain, std::ref(chunk));  // by reference: nothing is allocated
}

}  // namespace latentd
