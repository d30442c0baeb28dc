// Products with weights in blocks: a group of K at a time, x rounded to int8 on its way to shared
// memory. Whole numbers add up exactly within a group, and groups in ascending order by
//   y = fma(scale_w · scale_x, Σ q·w, y),
// as on every CPU path (cpu/int8_tile.h): the bits are the same.
#pragma once

#include "kernels/cuda/blocked_weights.h"
#include "kernels/cuda/product_rows.h"

namespace latentd::cuda {

template <typename Rows, typename Format>
struct BlockedLinearBody {
  static constexpr int kThreads = kProductThreads;
  static constexpr int kGroup = Format::kGroup;
  static constexpr int kParts = kThreads / kProductRows;  // threads that read a row of x
  struct Shared {
    int32_t largest[kProductRows][kParts];  // magnitudes of a thread's elements, as bits
    float x_scales[kProductRows];
    float w_scales[kProductCols];
    int8_t x[kProductRows][kGroup + 4];  // rows one bank further on
    int8_t w[kProductCols][kGroup + 4];
  };
  using Thread = ProductSums;

  Rows rows;

  int64_t NumBlocks() const { return ProductBlock<Rows>::Count(rows); }
  // Of a group: largest magnitudes, numbers, products.
  LATENTD_HD int NumPhases() const {
    return 3 * static_cast<int>(CeilDiv(rows.Depth(), kGroup)) + 1;
  }
  LATENTD_HD void Run(int phase, int64_t block, int thread, Thread& own, Shared& shared) const {
    const ProductBlock<Rows> at(rows, block);
    if (at.tile.num_rows == 0) return;
    if (phase == 0) ClearSums(own);
    if (phase + 1 == NumPhases()) return WriteProduct(rows, at, thread, own);
    const int64_t group = phase / 3, left = rows.Depth() - group * kGroup;
    const int count = left < kGroup ? static_cast<int>(left) : kGroup;
    if (phase % 3 == 0) {
      FindLargest(at.tile, group, count, thread, shared);
    } else if (phase % 3 == 1) {
      LoadRow(at.tile, group, count, thread, shared);
      LoadWeights(at, group, count, thread, shared);
    } else {
      Multiply(count, thread, shared, own);
    }
  }

 private:
  // The thread's part of a row of x: elements part, part + kParts …
  LATENTD_HD const float* RowAt(const ExpertTile& tile, int64_t group, int thread) const {
    const int row = thread / kParts;
    return row < tile.num_rows ? rows.From(tile.first_row + row) + group * kGroup : nullptr;
  }
  LATENTD_HD void FindLargest(const ExpertTile& tile, int64_t group, int count, int thread,
                              Shared& shared) const {
    const float* x = RowAt(tile, group, thread);
    int32_t largest = 0;
    for (int k = thread % kParts; x != nullptr && k < count; k += kParts) {
      const int32_t bits = MagnitudeBits(x[k]);
      if (largest < bits) largest = bits;
    }
    shared.largest[thread / kParts][thread % kParts] = largest;
  }
  LATENTD_HD void LoadRow(const ExpertTile& tile, int64_t group, int count, int thread,
                          Shared& shared) const {
    const int row = thread / kParts;
    int32_t largest = 0;
    for (const int32_t bits : shared.largest[row]) {
      if (largest < bits) largest = bits;
    }
    const GroupScale scale = ScaleOf(largest);
    const float* x = RowAt(tile, group, thread);
    for (int k = thread % kParts; k < count; k += kParts) {
      shared.x[row][k] = x == nullptr ? int8_t{0} : NumberOf(x[k], scale);
    }
    if (thread % kParts == 0) shared.x_scales[row] = scale.scale;
  }
  LATENTD_HD void LoadWeights(const ProductBlock<Rows>& at, int64_t group, int count, int thread,
                              Shared& shared) const {
    constexpr int kThreadsOfRow = kThreads / kProductCols;
    const WeightView& w = rows.Weights(at.tile);
    Require(w.dtype == Format::kDtype);
    const int n = thread / kThreadsOfRow;
    const int64_t row = at.first_col + n, lane = (w.scales.first_row + row) % kBlockRows;
    const std::byte* block = row < rows.NumOutputs() ? Format::Of(w, row, group) : nullptr;
    for (int k = thread % kThreadsOfRow; k < count; k += kThreadsOfRow) {
      shared.w[n][k] = block == nullptr ? int8_t{0} : Format::Number(block, lane, k);
    }
    if (thread % kThreadsOfRow == 0) {
      shared.w_scales[n] = block == nullptr ? 0 : Format::Scale(block, lane);
    }
  }
  LATENTD_HD static void Multiply(int count, int thread, const Shared& shared, Thread& own) {
    for (int i = 0; i < kRowsPerThread; ++i) {
      const int row = ThreadRow(thread, i);
      for (int j = 0; j < kColsPerThread; ++j) {
        const int col = ThreadCol(thread, j);
        int32_t product = 0;
        for (int k = 0; k < count; ++k) product += shared.w[col][k] * shared.x[row][k];
        const float scale = shared.w_scales[col] * shared.x_scales[row];
        own.at[i][j] = fmaf(scale, static_cast<float>(product), own.at[i][j]);
      }
    }
  }
};

}  // namespace latentd::cuda
