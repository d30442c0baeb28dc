// A warpgroup's columns of O: the products, and the fold of a unit into the item's partial sums.
#pragma once

#include "kernels/cuda/decode_rows.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace latentd::cuda {

// O += P·C for the chunks of one warpgroup.
template <int kColumns>
__device__ void MultiplyValues(uint32_t weights, uint32_t first_chunk,
                               float (&sums)[kColumns / 2]) {
  const uint64_t a = DescriptorAlongLanes(weights);
  const uint64_t b = DescriptorAlongRows(first_chunk);
  HoldRegisters(sums);
  WgmmaBegin();
#pragma unroll
  for (int step = 0; step < kStepsPerChunk; ++step) {
    Wgmma<kColumns, true>::Add(sums, Advance(a, step * kStepBytesAlongLanes),
                               Advance(b, step * kStepBytesAlongRows));
  }
  WgmmaWait();
  HoldRegisters(sums);
}

// A warpgroup's columns of O over one item: the unit being summed, and the fold into the slot.
template <int kColumns>
struct Output {
  static constexpr int kRegisters = kColumns / 2;
  float sums[kRegisters];

  __device__ void Clear() {
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) sums[i] = 0;
  }
  __device__ void Correct(const float (&correction)[2]) {
#pragma unroll
    for (int i = 0; i < kRegisters; ++i) sums[i] *= correction[i / 2 % 2];
  }
  // slot: this item's first row, at this warpgroup's first lane.
  __device__ void FoldInto(float* slot, int64_t row_floats, const ThreadRows& rows,
                           const FoldWeights (&weights)[2], bool first, int thread) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (!rows.exists[half]) continue;
      float* row = slot + rows.row[half] * row_floats + FragmentColumn(thread, 0);
      if (first) {
        StoreRow(row, weights[half], half);
      } else {
        FoldRow(row, weights[half], half);
      }
    }
  }
  // The first unit folds into zeros, as the combine kernel does: −0 becomes 0 in both.
  __device__ void StoreRow(float* row, const FoldWeights& weights, int half) {
#pragma unroll
    for (int i = 2 * half; i < kRegisters; i += 4) {
      StoreFloat2(row + 2 * (i - 2 * half),
                  {Fold(weights, 0, sums[i]), Fold(weights, 0, sums[i + 1])});
    }
  }
  // What is there comes in batches that the free registers hold; left alone, the compiler asks for
  // all of it at once and spills.
  __device__ void FoldRow(float* row, const FoldWeights& weights, int half) {
    constexpr int kPairs = kRegisters / 4;
    constexpr int kBatch = kPairs % 16 == 0 ? 16 : 8;
#pragma unroll
    for (int batch = 0; batch < kPairs; batch += kBatch) {
      float2 earlier[kBatch];
#pragma unroll
      for (int j = 0; j < kBatch; ++j) earlier[j] = LoadFloat2(row + 8 * (batch + j));
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const int i = 4 * (batch + j) + 2 * half;
        StoreFloat2(row + 8 * (batch + j), {Fold(weights, earlier[j].x, sums[i]),
                                            Fold(weights, earlier[j].y, sums[i + 1])});
      }
    }
  }
};
// A width of one chunk leaves warpgroup 0 no columns.
template <>
struct Output<0> {
  __device__ void Clear() {}
  __device__ void Correct(const float (&)[2]) {}
  __device__ void FoldInto(float*, int64_t, const ThreadRows&, const FoldWeights (&)[2], bool,
                           int) {}
};

}  // namespace latentd::cuda
