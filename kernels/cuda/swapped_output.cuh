// A warpgroup's lanes of Oᵀ: the products, and the fold of a unit into the item's partial sums.
#pragma once

#include "kernels/cuda/partial_softmax.h"
#include "kernels/cuda/swapped_block.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace latentd::cuda {

template <int kColumns, int kLatentChunks, int kChunks>
struct SwappedOutput {
  using Block = SwappedBlock<kColumns, kLatentChunks>;
  float sums[kChunks][kColumns / 2];

  __device__ void Clear() {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
#pragma unroll
      for (int i = 0; i < kColumns / 2; ++i) sums[c][i] = 0;
    }
  }
  __device__ void Correct(const Block& block, int thread) {
#pragma unroll
    for (int i = 0; i < kColumns / 2; i += 4) {
      const float2 correction = block.FloatPair(kCorrection, FragmentColumn(thread, i));
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        sums[c][i] *= correction.x;
        sums[c][i + 1] *= correction.y;
        sums[c][i + 2] *= correction.x;
        sums[c][i + 3] *= correction.y;
      }
    }
  }
  // Oᵀ += Cᵀ·Pᵀ for the chunks from the given one on, which are released.
  __device__ void Multiply(const Block& block, uint32_t first_chunk) {
    const uint64_t b = DescriptorAlongLanes(block.Weights());
#pragma unroll
    for (int c = 0; c < kChunks; ++c) HoldRegisters(sums[c]);
    WgmmaBegin();
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const RingChunk chunk = block.Chunk(first_chunk + c);
      BarrierWait(chunk.full, FullParity(chunk.use));
      const uint64_t a = DescriptorAlongRows(chunk.address);
#pragma unroll
      for (int step = 0; step < kStepsPerChunk; ++step) {
        Wgmma<kColumns, false, true>::Add(sums[c], Advance(a, step * kStepBytesAlongRows),
                                          Advance(b, step * kStepBytesAlongLanes));
      }
    }
    WgmmaWait();
#pragma unroll
    for (int c = 0; c < kChunks; ++c) HoldRegisters(sums[c]);
    for (int c = 0; c < kChunks; ++c) WarpArrive(block.Chunk(first_chunk + c).empty);
  }
  // slot: this item's first row, at this warpgroup's first lane. The first unit folds into zeros,
  // as the combine kernel does: −0 becomes 0 in both. What is there comes in batches of columns
  // that the free registers hold.
  __device__ void FoldInto(float* slot, int64_t row_floats, int num_rows, const Block& block,
                           bool first, int thread) {
    // Left alone, the compiler keeps every row's address through the whole item and spills.
    asm volatile("" : "+r"(thread));
#pragma unroll
    for (int i = 0; i < kColumns / 2; i += 4 * kBatch) {
      float earlier[2 * kBatch][2 * kChunks] = {};
#pragma unroll
      for (int j = 0; j < 2 * kBatch; ++j) {
        const int column = FragmentColumn(thread, RegisterOf(i, j));
        if (first || column >= num_rows) continue;
        const float* row = slot + column * row_floats + FragmentRow(thread, 0);
#pragma unroll
        for (int k = 0; k < 2 * kChunks; ++k) earlier[j][k] = LoadFloat(row + LaneOf(k));
      }
#pragma unroll
      for (int j = 0; j < 2 * kBatch; ++j) {
        const int column = FragmentColumn(thread, RegisterOf(i, j));
        if (column >= num_rows) continue;
        float* row = slot + column * row_floats + FragmentRow(thread, 0);
        const FoldWeights weights = {0, block.Floats(kEarlier)[column],
                                     block.Floats(kLater)[column]};
#pragma unroll
        for (int k = 0; k < 2 * kChunks; ++k) {
          const float later = sums[k / 2][RegisterOf(i, j) + k % 2 * 2];
          StoreFloat(row + LaneOf(k), Fold(weights, earlier[j][k], later));
        }
      }
    }
  }

 private:
  static constexpr int kBatch = 2;  // pairs of columns

  // Register of the j-th column from register i on, at the thread's first lane.
  __device__ static constexpr int RegisterOf(int i, int j) { return i + j / 2 * 4 + j % 2; }
  // The thread's k-th lane, behind FragmentRow(thread, 0).
  __device__ static int LaneOf(int k) { return k / 2 * kChunkLanes + k % 2 * 8; }
};
// A width of one chunk leaves warpgroup 0 no lanes.
template <int kColumns, int kLatentChunks>
struct SwappedOutput<kColumns, kLatentChunks, 0> {
  using Block = SwappedBlock<kColumns, kLatentChunks>;
  __device__ void Clear() {}
  __device__ void Correct(const Block&, int) {}
  __device__ void Multiply(const Block&, uint32_t) {}
  __device__ void FoldInto(float*, int64_t, int, const Block&, bool, int) {}
};

}  // namespace latentd::cuda
