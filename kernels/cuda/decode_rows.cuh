// What a consumer thread keeps of its two rows.
#pragma once

#include "kernels/cuda/decode_plan.h"
#include "kernels/cuda/partial_softmax.h"
#include "kernels/cuda/shared_tile.h"

namespace latentd::cuda {

// What a consumer thread knows of its two rows (FragmentRow of registers 0 and 2) in one item.
struct ThreadRows {
  int row[2];
  bool exists[2];
  __device__ ThreadRows(const DecodeItem& item, int thread) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      row[half] = FragmentRow(thread, 2 * half);
      exists[half] = row[half] < item.num_rows;
    }
  }
};

// Largest score of a row: the four lanes that share it.
__device__ inline float QuadLargest(float value) {
  value = fmaxf(value, __shfl_xor_sync(~0u, value, 1));
  return fmaxf(value, __shfl_xor_sync(~0u, value, 2));
}
__device__ inline float QuadSum(float value) {
  value += __shfl_xor_sync(~0u, value, 1);
  return value + __shfl_xor_sync(~0u, value, 2);
}

// One row pair's softmax over the tiles of a unit, and the group's.
struct RowSums {
  float largest[2] = {kNoScore, kNoScore};
  float sum[2] = {0, 0};  // of the unit: this thread's columns only
  float group_largest[2] = {kNoScore, kNoScore};
  float group_sum[2] = {0, 0};

  // Ends a unit: the weights by which it joins the group. kSums: this warpgroup keeps sums.
  template <bool kSums>
  __device__ void EndUnit(FoldWeights (&weights)[2]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      weights[half] = WeighFold(group_largest[half], largest[half]);
      group_largest[half] = weights[half].largest;
      if constexpr (kSums)
        group_sum[half] = Fold(weights[half], group_sum[half], QuadSum(sum[half]));
      largest[half] = kNoScore;
      sum[half] = 0;
    }
  }
};

}  // namespace latentd::cuda
