// What warpgroup 0 does with a tile: scores, softmax, and P for both warpgroups.
#pragma once

#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/decode_rows.cuh"
#include "kernels/cuda/partial_softmax.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared_tile.h"
#include "kernels/cuda/wgmma.cuh"

namespace latentd::cuda {

constexpr int kScoreRegisters = kTileRows / 2;  // of a 64 × 64 accumulator

// Slots past the last visible token may hold anything, NaN too, and 0 · NaN is NaN: overwrites
// them.
__device__ inline void ZeroSlots(uint32_t tile, int tile_bytes, int first_slot, int thread) {
  for (uint32_t chunk = tile; chunk < tile + tile_bytes; chunk += kChunkBytes) {
    for (int byte = first_slot * kChunkRowBytes + 16 * thread; byte < kChunkBytes;
         byte += 16 * 128) {
      StoreSharedZeros16(chunk + byte);
    }
  }
  SharedFence();
  WarpgroupSync(1);
}

// scores += Q·Cᵀ over kChunks chunks from the given ones on.
template <int kChunks>
__device__ void MultiplyScores(uint32_t queries, uint32_t tile, float (&scores)[kScoreRegisters]) {
  const uint64_t a = DescriptorAlongLanes(queries);
  const uint64_t b = DescriptorAlongLanes(tile);
  HoldRegisters(scores);
  WgmmaBegin();
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
    for (int step = 0; step < kStepsPerChunk; ++step) {
      const int bytes = chunk * kChunkBytes + step * kStepBytesAlongLanes;
      Wgmma<kTileRows, false>::Add(scores, Advance(a, bytes), Advance(b, bytes));
    }
  }
  WgmmaWait();
  HoldRegisters(scores);
}

// scores[row, token] *= α[token, group of the row]. A slot past the end may hold any α: not read.
__device__ inline void MultiplyAlphas(const DecodeParams& params, const DecodeItem& item,
                                      int first_token, const ThreadRows& rows, int thread,
                                      float (&scores)[kScoreRegisters]) {
  const uint32_t granule =
      params.block_tables[item.sequence * params.block_table_ld + first_token / kTileRows];
  const auto* alphas =
      reinterpret_cast<const float*>(params.alphas + static_cast<int64_t>(granule) * kGranuleBytes);
  const int groups = params.num_kv_groups;
  const int num_slots = item.end_token - first_token;
  const int first = KvGroupOfRow(item.first_row + rows.row[0], params.num_heads, groups);
  const int second = KvGroupOfRow(item.first_row + rows.row[1], params.num_heads, groups);
#pragma unroll
  for (int i = 0; i < kScoreRegisters; i += 4) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int slot = FragmentColumn(thread, i + j);
      if (slot >= num_slots) continue;
      scores[i + j] *= alphas[slot * groups + first];
      scores[i + j + 2] *= alphas[slot * groups + second];
    }
  }
}

// The scores of a tile before the softmax scale: content, α, rotary part on top, or α last.
template <int kLatentChunks>
__device__ void MakeScores(const DecodeParams& params, const DecodeItem& item, int first_token,
                           const ThreadRows& rows, uint32_t queries, uint32_t tile, int thread,
                           float (&scores)[kScoreRegisters]) {
#pragma unroll
  for (int i = 0; i < kScoreRegisters; ++i) scores[i] = 0;
  MultiplyScores<kLatentChunks>(queries, tile, scores);
  if (params.key_norm == KeyNorm::kBlockwise) {
    MultiplyAlphas(params, item, first_token, rows, thread, scores);
  }
  if (params.has_rope) {
    constexpr int kRope = kLatentChunks * kChunkBytes;
    MultiplyScores<1>(queries + kRope, tile + kRope, scores);
  }
  if (params.key_norm == KeyNorm::kUnified) {
    MultiplyAlphas(params, item, first_token, rows, thread, scores);
  }
}

// Into base 2, and −∞ where the row may not look. Returns the largest of each row.
__device__ inline void MaskScores(const DecodeParams& params, const DecodeItem& item,
                                  int first_token, const ThreadRows& rows, int thread,
                                  float (&scores)[kScoreRegisters], float (&largest)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = item.first_row + rows.row[half];
    const int visible =
        rows.exists[half] ? VisibleTokens(item.first_position, row, params.num_heads) - first_token
                          : 0;
    largest[half] = kNoScore;
#pragma unroll
    for (int i = 2 * half; i < kScoreRegisters; i += 4) {
#pragma unroll
      for (int j = i; j < i + 2; ++j) {
        const bool seen = FragmentColumn(thread, j) < visible;
        scores[j] = seen ? params.scale_log2 * scores[j] : kNoScore;
        largest[half] = fmaxf(largest[half], scores[j]);
      }
    }
    largest[half] = QuadLargest(largest[half]);
  }
}

// Scores become weights: rounded to bf16, written for both warpgroups, added to the sums as
// rounded.
__device__ inline void WriteWeights(const float (&scores)[kScoreRegisters],
                                    const TileStep (&steps)[2], uint32_t weights, int thread,
                                    RowSums& sums) {
  float added[2] = {0, 0};
  // Registers 2 and 3 lie 8 rows below 0 and 1, where the swizzle is the same.
  const int row = FragmentRow(thread, 0);
#pragma unroll
  for (int i = 0; i < kScoreRegisters; i += 2) {
    const int half = i / 2 % 2;
    const uint32_t pair =
        PackBf16(Exp2(scores[i] - steps[half].shift), Exp2(scores[i + 1] - steps[half].shift));
    added[half] += __uint_as_float(pair << 16);
    added[half] += __uint_as_float(pair & 0xffff0000u);
    StoreShared(weights + ChunkByte(row, FragmentColumn(thread, i)) + half * kPatternBytes, pair);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sums.sum[half] = fmaf(sums.sum[half], steps[half].correction, added[half]);
  }
}

}  // namespace latentd::cuda
