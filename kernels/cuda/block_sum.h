// Σ x² by the threads of a block: element j goes to thread j mod 128, each thread adds in ascending
// order, and the 128 sums fold by halves. The order depends on the number of elements alone.
#pragma once

#include <cmath>

#include "kernels/cuda/body.h"

namespace latentd::cuda {

constexpr int kSumThreads = 128;
constexpr int kFoldPhases = 7;

LATENTD_HD inline float PartialSquares(const float* x, int64_t count, int thread) {
  float sum = 0;
  for (int64_t j = thread; j < count; j += kSumThreads) sum += x[j] * x[j];
  return sum;
}

// Phases 0 … kFoldPhases − 1; afterwards sums[0] is the sum.
LATENTD_HD inline void FoldByHalves(int phase, int thread, float* sums) {
  const int half = kSumThreads >> (phase + 1);
  if (thread < half) sums[thread] += sums[thread + half];
}

// ρ, as in kernels/norm.h.
LATENTD_HD inline float InverseRoot(float sum, int64_t count, float epsilon) {
  return 1 / sqrtf(sum / static_cast<float>(count) + epsilon);
}

}  // namespace latentd::cuda
