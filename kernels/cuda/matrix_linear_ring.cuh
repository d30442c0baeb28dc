// The warps that fill the ring of a thread block of MatrixLinear.
#pragma once

#include "kernels/cuda/decode_ring.cuh"
#include "kernels/cuda/matrix_linear_params.h"
#include "kernels/cuda/ptx.cuh"

namespace latentd::cuda {

// One thread: every chunk of W.
template <bool kTransposed>
__device__ void CopyWeights(const CUtensorMap* w_map, const LinearParams& params,
                            const LinearLayout& layout, const LinearTile& tile, PartRange chunks,
                            uint32_t shared, const Barriers& barriers) {
  const int matrix = static_cast<int>(tile.batch / params.w_batch_share);
  for (int chunk = chunks.first; chunk < chunks.end; ++chunk) {
    const RingPlace place =
        PlaceInRing(static_cast<uint32_t>(chunk - chunks.first), layout.num_stages);
    BarrierWait(barriers[ChunkEmpty(place.stage)], EmptyParity(place.use));
    BarrierExpect(barriers[ChunkFull(place.stage)], static_cast<uint32_t>(layout.WeightBytes()));
    for (int group = 0; group < layout.groups; ++group) {
      const BoxPlace at = WeightPlace(kTransposed, tile.first_row + group * kTileRows, chunk);
      TmaLoad3d(shared + layout.Weights(place.stage, group), w_map, at.lane, at.row, matrix,
                barriers[ChunkFull(place.stage)]);
    }
  }
}

// One turn of a batch for the lanes of a chunk from `first_lane` on.
template <bool kWhole, int kBatch>
__device__ void LoadTokens(const LinearParams& params, const LinearTile& tile, int first_lane,
                           int lane, int first, FourLanes (&four)[kBatch]) {
#pragma unroll
  for (int i = 0; i < kBatch; ++i) {
    const TokenPiece piece = TokenPieceOf(lane, first + i);
    four[i] = LoadFour<kWhole>(params, tile, piece.token, first_lane + piece.lane);
  }
}

// Warp `warp` of kTokenWarps. Loads go ahead of the wait for room, in batches that hide latency.
template <int kTokens>
__device__ void RoundTokens(const LinearParams& params, const LinearTile& tile, PartRange chunks,
                            int warp, int lane, uint32_t shared, const Barriers& barriers) {
  constexpr LinearLayout kLayout(kTokens);
  constexpr int kPieces = NumTokenPieces(kTokens);
  constexpr int kWidest = kLayout.blocks == 1 ? 16 : 8;  // by registers
  constexpr int kBatch = kPieces < kWidest ? kPieces : kWidest;
  for (int chunk = chunks.first + warp; chunk < chunks.end; chunk += kTokenWarps) {
    const RingPlace place =
        PlaceInRing(static_cast<uint32_t>(chunk - chunks.first), kLayout.num_stages);
    const uint32_t tokens = shared + kLayout.Tokens(place.stage);
#pragma unroll 1
    for (int first = 0; first < kPieces; first += kBatch) {
      FourLanes four[kBatch];
      if (WholeChunk(params, chunk)) {
        LoadTokens<true>(params, tile, chunk * kChunkLanes, lane, first, four);
      } else {
        LoadTokens<false>(params, tile, chunk * kChunkLanes, lane, first, four);
      }
      if (first == 0) BarrierWait(barriers[ChunkEmpty(place.stage)], EmptyParity(place.use));
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const TokenPiece piece = TokenPieceOf(lane, first + i);
        StoreShared2(tokens + ChunkByte(piece.token, piece.lane),
                     PackBf16(four[i].at[0], four[i].at[1]),
                     PackBf16(four[i].at[2], four[i].at[3]));
      }
    }
    SharedFence();
    BarrierArrive(barriers[ChunkFull(place.stage)]);
  }
}

}  // namespace latentd::cuda
