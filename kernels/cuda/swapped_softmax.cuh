// What warpgroup 0 makes of a tile's scores in exchanged roles: the softmax of every column, and
// the weights for both warpgroups.
#pragma once

#include "kernels/cuda/partial_softmax.h"
#include "kernels/cuda/swapped_block.cuh"

namespace latentd::cuda {

// Thread i of warpgroup 0 keeps column i's softmax over the tiles of a unit, and the group's.
struct ColumnSums {
  float largest = kNoScore;
  float group_largest = kNoScore;
  float group_sum = 0;
};

// Over the eight lanes that share a pair of columns.
__device__ inline float OctetLargest(float value) {
#pragma unroll
  for (int lanes = 4; lanes < 32; lanes *= 2) {
    value = fmaxf(value, __shfl_xor_sync(~0u, value, lanes));
  }
  return value;
}
__device__ inline float OctetSum(float value) {
#pragma unroll
  for (int lanes = 4; lanes < 32; lanes *= 2) value += __shfl_xor_sync(~0u, value, lanes);
  return value;
}

// Into base 2, and −∞ where the row may not look. Leaves the largest of each column, by warp.
template <int kColumns, int kLatentChunks>
__device__ void MaskScores(const DecodeParams& params, int first_token,
                           const SwappedBlock<kColumns, kLatentChunks>& block, int thread,
                           float (&scores)[kColumns / 2]) {
  float* largest = block.Floats(kLargest + thread / 32);
#pragma unroll
  for (int i = 0; i < kColumns / 2; i += 4) {
    const int column = FragmentColumn(thread, i);
    const int2 visible = block.IntPair(kVisible, column);
#pragma unroll
    for (int j = i; j < i + 4; ++j) {
      const bool seen = first_token + FragmentRow(thread, j) < (j % 2 == 0 ? visible.x : visible.y);
      scores[j] = seen ? params.scale_log2 * scores[j] : kNoScore;
    }
    const float2 pair = {OctetLargest(fmaxf(scores[i], scores[i + 2])),
                         OctetLargest(fmaxf(scores[i + 1], scores[i + 3]))};
    if (thread % 32 < 4) *reinterpret_cast<float2*>(largest + column) = pair;
  }
}

// What the tile does to a column; at a unit's end, by which weights it joins the group.
template <int kColumns, int kLatentChunks>
__device__ void StepColumn(const SwappedBlock<kColumns, kLatentChunks>& block, bool ends_unit,
                           int column, ColumnSums& sums) {
  float largest = block.Floats(kLargest)[column];
#pragma unroll
  for (int warp = 1; warp < kWarpsOfGroup; ++warp) {
    largest = fmaxf(largest, block.Floats(kLargest + warp)[column]);
  }
  const TileStep step = StepTile(sums.largest, largest);
  sums.largest = step.largest;
  block.Floats(kShift)[column] = step.shift;
  block.Floats(kCorrection)[column] = step.correction;
  if (!ends_unit) return;
  const FoldWeights weights = WeighFold(sums.group_largest, sums.largest);
  sums.group_largest = weights.largest;
  sums.largest = kNoScore;
  block.Floats(kEarlier)[column] = weights.earlier;
  block.Floats(kLater)[column] = weights.later;
}

// Scores become weights: rounded to bf16, written row by row for both warpgroups, added to each
// column's sums as rounded.
template <int kColumns, int kLatentChunks>
__device__ void WriteWeights(const float (&scores)[kColumns / 2],
                             const SwappedBlock<kColumns, kLatentChunks>& block, int thread,
                             float (&sums)[kColumns / 4]) {
  uint32_t places[4];  // of the first registers; the next four lie eight rows on
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    places[j] = block.Weights() + ChunkByte(FragmentColumn(thread, j), FragmentRow(thread, j));
  }
#pragma unroll
  for (int i = 0; i < kColumns / 2; i += 4) {
    const int column = FragmentColumn(thread, i);
    const float2 shift = block.FloatPair(kShift, column);
    const float2 correction = block.FloatPair(kCorrection, column);
    float2 added = {0, 0};
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      const uint32_t pair =
          PackBf16(Exp2(scores[i + j] - shift.x), Exp2(scores[i + j + 1] - shift.y));
      added.x += __uint_as_float(pair << 16);
      added.y += __uint_as_float(pair & 0xffff0000u);
      StoreSharedHalf(places[j] + i / 4 * kPatternBytes, pair);
      StoreSharedHalf(places[j + 1] + i / 4 * kPatternBytes, pair >> 16);
    }
    sums[i / 2] = fmaf(sums[i / 2], correction.x, added.x);
    sums[i / 2 + 1] = fmaf(sums[i / 2 + 1], correction.y, added.y);
  }
}

// Adds up a unit's weights and folds them into the group's: eight lanes, then four warps.
template <int kColumns, int kLatentChunks>
__device__ void EndUnit(const SwappedBlock<kColumns, kLatentChunks>& block, int thread,
                        const float (&sums)[kColumns / 4], ColumnSums& column) {
  float* of_warp = block.Floats(kLargest + thread / 32);
#pragma unroll
  for (int i = 0; i < kColumns / 4; i += 2) {
    const float2 pair = {OctetSum(sums[i]), OctetSum(sums[i + 1])};
    if (thread % 32 < 4) {
      *reinterpret_cast<float2*>(of_warp + FragmentColumn(thread, 2 * i)) = pair;
    }
  }
  WarpgroupSync(1);
  if (thread < kColumns) {
    const auto sum_of = [&](int warp) { return block.Floats(kLargest + warp)[thread]; };
    const FoldWeights weights = {0, block.Floats(kEarlier)[thread], block.Floats(kLater)[thread]};
    column.group_sum =
        Fold(weights, column.group_sum, (sum_of(0) + sum_of(1)) + (sum_of(2) + sum_of(3)));
  }
  WarpgroupSync(1);  // the next tile's largest stand where the sums do
}

// Slots past the last visible token may hold anything, NaN too, and 0 · NaN is NaN: overwrites
// them. (In the scores they make rows that are masked.)
template <int kColumns, int kLatentChunks>
__device__ void ZeroSlots(const SwappedBlock<kColumns, kLatentChunks>& block, uint32_t first_chunk,
                          int first_slot, int thread) {
  for (int c = 0; c < kLatentChunks; ++c) {
    const uint32_t chunk = block.Chunk(first_chunk + c).address;
    for (int byte = first_slot * kChunkRowBytes + 16 * thread; byte < kChunkBytes;
         byte += 16 * kThreadsOfGroup) {
      StoreSharedZeros16(chunk + byte);
    }
  }
}

}  // namespace latentd::cuda
