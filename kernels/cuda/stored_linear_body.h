// Products with weights of any dtype but blocks: LinearBody's order and roundings.
#pragma once

#include "kernels/cuda/product_rows.h"
#include "kernels/cuda/stored_weights.h"

namespace latentd::cuda {

// A weight is dequantised once for 32 rows, on its way to shared memory.
template <typename Rows>
struct StoredLinearBody {
  static constexpr int kThreads = kProductThreads;
  using Shared = ProductTile;
  using Thread = ProductSums;

  Rows rows;

  int64_t NumBlocks() const { return ProductBlock<Rows>::Count(rows); }
  LATENTD_HD int NumPhases() const { return ProductPhases(rows.Depth()) + 1; }
  LATENTD_HD void Run(int phase, int64_t block, int thread, Thread& own, Shared& shared) const {
    const ProductBlock<Rows> at(rows, block);
    if (at.tile.num_rows == 0) return;
    if (phase == 0) ClearSums(own);
    if (phase + 1 == NumPhases()) return WriteProduct(rows, at, thread, own);
    const StoredWeights w = {rows.Weights(at.tile), rows.NumOutputs(), rows.Depth()};
    Require(!IsBlocked(w.view.dtype));
    const auto element = [&](int row, int64_t k) {
      return row < at.tile.num_rows ? w.Round(rows.From(at.tile.first_row + row)[k]) : 0.0f;
    };
    RunProduct(phase, element, w, at.first_col, thread, own, shared);
  }
};

}  // namespace latentd::cuda
