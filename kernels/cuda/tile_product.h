// The product that Linear and the key scalars share: 32 rows of x by 64 rows of weights, 256
// threads, along K in steps of 32 through shared memory.
//
// Every output has one accumulator, to which fused multiply-adds come in ascending k: its bits
// depend on its row, its weights and K alone, however rows and columns fall into tiles. With bf16
// operands a product is exact in fp32, so that the bits are those of the CPU's scalar path.
#pragma once

#include <cmath>

#include "kernels/cuda/body.h"
#include "kernels/cuda/weight_type.h"

namespace latentd::cuda {

constexpr int kProductRows = 32;
constexpr int kProductCols = 64;
constexpr int kProductDepth = 32;
constexpr int kProductThreads = 256;
constexpr int kProductLanes = 16;  // threads along a row of outputs
constexpr int kRowsPerThread = kProductRows * kProductLanes / kProductThreads;
constexpr int kColsPerThread = kProductCols / kProductLanes;

// Rows one bank further on than the depth: a warp reads 16 of them at one k.
struct ProductTile {
  float x[kProductRows][kProductDepth + 1];
  float w[kProductCols][kProductDepth + 1];
};

// Output (i, j) of a thread is row ThreadRow + 16·i, column ThreadCol + 16·j of the tile.
struct ProductSums {
  float at[kRowsPerThread][kColsPerThread];
};
LATENTD_HD constexpr int ThreadRow(int thread, int i) {
  return thread / kProductLanes + i * (kProductThreads / kProductLanes);
}
LATENTD_HD constexpr int ThreadCol(int thread, int j) {
  return thread % kProductLanes + j * kProductLanes;
}

LATENTD_HD inline void ClearSums(ProductSums& sums) {
  for (int i = 0; i < kRowsPerThread; ++i) {
    for (int j = 0; j < kColsPerThread; ++j) sums.at[i][j] = 0;
  }
}

// A matrix whose element (n, k) lies at data[n · ld + k], or at data[k · ld + n] when transposed.
template <typename T>
struct ProductWeights {
  const T* data;
  int64_t n;
  int64_t k;
  int64_t ld;
  bool transposed;

  LATENTD_HD float At(int64_t row, int64_t depth) const {
    return Widen(data[transposed ? depth * ld + row : row * ld + depth]);
  }
};

// Weights (first_n …, first_k …) of ProductWeights or what looks like it (stored_weights.h);
// neighbouring threads read neighbouring addresses. Outside: 0.
template <typename Weights>
LATENTD_HD void LoadWeights(const Weights& w, int64_t first_n, int64_t first_k, int thread,
                            ProductTile& tile) {
  for (int i = thread; i < kProductCols * kProductDepth; i += kProductThreads) {
    const int n = w.transposed ? i % kProductCols : i / kProductDepth;
    const int k = w.transposed ? i / kProductCols : i % kProductDepth;
    const bool inside = first_n + n < w.n && first_k + k < w.k;
    tile.w[n][k] = inside ? w.At(first_n + n, first_k + k) : 0;
  }
}

// x(row, k) for the tile's rows and first_k + k, already rounded.
template <typename X>
LATENTD_HD void LoadRows(const X& x, int thread, ProductTile& tile) {
  for (int i = thread; i < kProductRows * kProductDepth; i += kProductThreads) {
    tile.x[i / kProductDepth][i % kProductDepth] = x(i / kProductDepth, i % kProductDepth);
  }
}

// Depth: how much of the step lies below K. Beyond it nothing is added, not even a zero.
LATENTD_HD inline void Multiply(const ProductTile& tile, int depth, int thread, ProductSums& sums) {
  for (int k = 0; k < depth; ++k) {
    float w[kColsPerThread];
    for (int j = 0; j < kColsPerThread; ++j) w[j] = tile.w[ThreadCol(thread, j)][k];
    for (int i = 0; i < kRowsPerThread; ++i) {
      const float x = tile.x[ThreadRow(thread, i)][k];
      for (int j = 0; j < kColsPerThread; ++j) sums.at[i][j] = fmaf(x, w[j], sums.at[i][j]);
    }
  }
}
LATENTD_HD constexpr int StepDepth(int64_t k, int64_t first_k) {
  return static_cast<int>(k - first_k < kProductDepth ? k - first_k : kProductDepth);
}

// A product's phases: a load and a multiplication for each step of K.
LATENTD_HD constexpr int ProductPhases(int64_t k) {
  return 2 * static_cast<int>(CeilDiv(k, kProductDepth));
}
// One of them, for the outputs from column first_n on. x(row, k), of k below w.k, is rounded
// already, and 0 for a row outside. The sums are cleared before.
template <typename X, typename Weights>
LATENTD_HD void RunProduct(int phase, const X& x, const Weights& w, int64_t first_n, int thread,
                           ProductSums& sums, ProductTile& tile) {
  const int64_t first_k = int64_t{phase / 2} * kProductDepth;
  if (phase % 2 == 1) return Multiply(tile, StepDepth(w.k, first_k), thread, sums);
  LoadWeights(w, first_n, first_k, thread, tile);
  LoadRows([&](int row, int k) { return first_k + k < w.k ? x(row, first_k + k) : 0.0f; }, thread,
           tile);
}

// write(row, column, sum) for each output of the thread, counted from the tile's first.
template <typename Write>
LATENTD_HD void ForEachOutput(int thread, const ProductSums& sums, const Write& write) {
  for (int i = 0; i < kRowsPerThread; ++i) {
    for (int j = 0; j < kColsPerThread; ++j) {
      write(ThreadRow(thread, i), ThreadCol(thread, j), sums.at[i][j]);
    }
  }
}

}  // namespace latentd::cuda
