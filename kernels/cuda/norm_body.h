// RmsNorm: a block for each row.
#pragma once

#include "kernels/cuda/block_sum.h"

namespace latentd::cuda {

// Reads x twice and writes it once: 12 bytes an element, of which the second read finds the cache.
struct RmsNormBody {
  static constexpr int kThreads = kSumThreads;
  struct Shared {
    float sums[kThreads];
  };
  struct Thread {};

  MatrixView<const float> x;
  const float* weight;
  float epsilon;
  MatrixView<float> y;

  int64_t NumBlocks() const { return x.rows; }
  LATENTD_HD int NumPhases() const { return 1 + kFoldPhases + 1; }
  LATENTD_HD void Run(int phase, int64_t row, int thread, Thread&, Shared& shared) const {
    const float* from = RowOf(x, row);
    if (phase == 0) {
      shared.sums[thread] = PartialSquares(from, x.cols, thread);
    } else if (phase <= kFoldPhases) {
      FoldByHalves(phase - 1, thread, shared.sums);
    } else {
      const float rho = InverseRoot(shared.sums[0], x.cols, epsilon);
      float* to = RowOf(y, row);
      for (int64_t j = thread; j < x.cols; j += kThreads) {
        const float scaled = from[j] * rho;
        to[j] = weight == nullptr ? scaled : weight[j] * scaled;
      }
    }
  }
};

inline RmsNormBody MakeRmsNorm(MatrixView<const float> x, const float* weight, float epsilon,
                               MatrixView<float> y) {
  LATENTD_CHECK(x.rows == y.rows && x.cols == y.cols && (x.cols > 0 || x.rows == 0));
  return {x, weight, epsilon, y};
}

}  // namespace latentd::cuda
