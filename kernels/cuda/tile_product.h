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
};

// Weights (first_n …, first_k …); neighbouring threads read neighbouring addresses. Outside: 0.
template <typename T>
LATENTD_HD void LoadWeights(const ProductWeights<T>& w, int64_t first_n, int64_t first_k,
                            int thread, ProductTile& tile) {
  for (int i = thread; i < kProductCols * kProductDepth; i += kProductThreads) {
    const int n = w.transposed ? i % kProductCols : i / kProductDepth;
    const int k = w.transposed ? i / kProductCols : i % kProductDepth;
    const int64_t row = first_n + n, depth = first_k + k;
    const bool inside = row < w.n && depth < w.k;
    const int64_t place = w.transposed ? depth * w.ld + row : row * w.ld + depth;
    tile.w[n][k] = inside ? Widen(w.data[place]) : 0;
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

}  // namespace latentd::cuda
