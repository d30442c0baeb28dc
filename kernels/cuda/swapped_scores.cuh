// The scores of a tile in exchanged roles, 64 tokens by the query rows, which warpgroup 0 makes.
//
// A thread holds two tokens of a pair of columns in each four registers: FragmentRow(thread, 0) in
// the first two, the token eight on in the others.
#pragma once

#include "kernels/cuda/decode_plan.h"
#include "kernels/cuda/swapped_block.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace latentd::cuda {

// A tile of an item.
struct SwappedTile {
  uint32_t first_chunk;  // of all that the thread block reads
  int first_token;
  bool ends_unit;
};

// The rows of an item, for all threads of warpgroup 0.
template <int kColumns, int kLatentChunks>
__device__ void SetRows(const DecodeParams& params, const DecodeItem& item,
                        const SwappedBlock<kColumns, kLatentChunks>& block, int thread) {
  if (thread < kColumns) {
    const int row = item.first_row + thread;
    block.Ints(kVisible)[thread] =
        thread < item.num_rows ? VisibleTokens(item.first_position, row, params.num_heads) : 0;
    block.Ints(kKvGroup)[thread] = KvGroupOfRow(row, params.num_heads, params.num_kv_groups);
  }
  WarpgroupSync(1);
}

// scores += C·Qᵀ over one chunk.
template <int kColumns>
__device__ void AddScores(uint32_t chunk, uint32_t queries, float (&scores)[kColumns / 2]) {
  const uint64_t a = DescriptorAlongLanes(chunk), b = DescriptorAlongLanes(queries);
#pragma unroll
  for (int step = 0; step < kStepsPerChunk; ++step) {
    const int bytes = step * kStepBytesAlongLanes;
    Wgmma<kColumns, false>::Add(scores, Advance(a, bytes), Advance(b, bytes));
  }
}

// scores[token, row] *= α[token, group of the row]. A slot past the end may hold any α: not read.
template <int kColumns, int kLatentChunks>
__device__ void MultiplyAlphas(const DecodeParams& params, const DecodeItem& item, int first_token,
                               const SwappedBlock<kColumns, kLatentChunks>& block, int thread,
                               float (&scores)[kColumns / 2]) {
  const uint32_t granule =
      params.block_tables[item.sequence * params.block_table_ld + first_token / kTileRows];
  const auto* alphas =
      reinterpret_cast<const float*>(params.alphas + static_cast<int64_t>(granule) * kGranuleBytes);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int slot = FragmentRow(thread, 2 * half);
    if (slot >= item.end_token - first_token) continue;
    const float* of_slot = alphas + slot * params.num_kv_groups;
#pragma unroll
    for (int i = 2 * half; i < kColumns / 2; i += 4) {
      const int2 group = block.IntPair(kKvGroup, FragmentColumn(thread, i));
      scores[i] *= of_slot[group.x];
      scores[i + 1] *= of_slot[group.y];
    }
  }
}

// The scores of a tile before the softmax scale: content, α, rotary part on top, or α last.
template <int kColumns, int kLatentChunks>
__device__ void MakeScores(const DecodeParams& params, const DecodeItem& item,
                           const SwappedTile& tile,
                           const SwappedBlock<kColumns, kLatentChunks>& block, int thread,
                           float (&scores)[kColumns / 2]) {
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) scores[i] = 0;
  HoldRegisters(scores);
  WgmmaBegin();
#pragma unroll
  for (int c = 0; c < kLatentChunks; ++c) {
    const RingChunk chunk = block.Chunk(tile.first_chunk + c);
    BarrierWait(chunk.full, FullParity(chunk.use));
    AddScores<kColumns>(chunk.address, block.Queries(c), scores);
  }
  WgmmaWait();
  HoldRegisters(scores);
  if (params.key_norm == KeyNorm::kBlockwise) {
    MultiplyAlphas(params, item, tile.first_token, block, thread, scores);
  }
  if (params.has_rope) {
    const RingChunk chunk = block.Chunk(tile.first_chunk + kLatentChunks);
    BarrierWait(chunk.full, FullParity(chunk.use));
    HoldRegisters(scores);
    WgmmaBegin();
    AddScores<kColumns>(chunk.address, block.Queries(kLatentChunks), scores);
    WgmmaWait();
    HoldRegisters(scores);
    WarpArrive(chunk.empty);
  }
  if (params.key_norm == KeyNorm::kUnified) {
    MultiplyAlphas(params, item, tile.first_token, block, thread, scores);
  }
}

}  // namespace latentd::cuda
