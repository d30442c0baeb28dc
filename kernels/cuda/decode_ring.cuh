// The barriers of a decode thread block, and the warp that fills its ring.
#pragma once

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/decode_layout.h"
#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/decode_protocol.h"
#include "kernels/cuda/item_walk.h"
#include "kernels/cuda/ptx.cuh"

namespace latentd::cuda {

// The mbarriers of decode_protocol.h in shared memory.
struct Barriers {
  uint32_t base;
  __device__ uint32_t operator[](int barrier) const { return base + 8 * barrier; }
};

__device__ inline void InitBarriers(const Barriers& barriers, int num_stages, int cluster) {
  for (int i = 0; i < NumBarriers(num_stages); ++i) {
    BarrierInit(barriers[i], NumArrivals(i, cluster));
  }
  BarrierInitFence();
}

template <typename Use>
__device__ void ForEachItemOfBlock(const DecodeParams& params, const Use& use) {
  ForEachItem(params, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x), use);
}

// One arrival for each warp, after all its lanes.
__device__ inline void WarpArrive(uint32_t barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) BarrierArrive(barrier);
}

// A stage is read by this warp: every block of the cluster is told, by a lane each.
template <int kCluster>
__device__ void ReleaseStage(uint32_t barrier) {
  if constexpr (kCluster == 1) {
    WarpArrive(barrier);
  } else {
    __syncwarp();
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (lane < kCluster) BarrierArriveInBlock(barrier, lane);
  }
}

// One tile of tokens, or this block's share of it for the whole cluster.
template <int kLatentChunks, int kCluster>
__device__ void CopyTile(const CUtensorMap* latent_map, int chunks, int granule, uint32_t n,
                         uint32_t shared, const Barriers& barriers) {
  constexpr DecodeLayout kLayout(kLatentChunks);
  const RingPlace place = PlaceInRing(n, kLayout.num_stages);
  const uint32_t full = barriers[StageFull(place.stage)];
  if constexpr (kCluster == 1) {
    BarrierWait(barriers[StageEmpty(place.stage)], EmptyParity(place.use));
  } else {
    BarrierWaitOnCluster(barriers[StageEmpty(place.stage)], EmptyParity(place.use));
  }
  BarrierExpect(full, static_cast<uint32_t>(chunks * kChunkBytes));
  const int first = FirstChunkCopied(blockIdx.x % kCluster, n, kCluster);
#pragma unroll 1  // unrolled it needs more than the registers that LowerRegisters leaves
  for (int chunk = first; chunk < chunks; chunk += kCluster) {
    const uint32_t target = shared + kLayout.Stage(place.stage, chunk);
    if constexpr (kCluster == 1) {
      TmaLoad3d(target, latent_map, chunk * kChunkLanes, 0, granule, full);
    } else {
      constexpr uint16_t kAllBlocks = (1 << kCluster) - 1;
      TmaMulticast3d(target, latent_map, chunk * kChunkLanes, 0, granule, full, kAllBlocks);
    }
  }
}

template <int kLatentChunks, int kCluster>
__device__ void Produce(const CUtensorMap* q_map, const CUtensorMap* latent_map,
                        const DecodeParams& params, uint32_t shared, const Barriers& barriers) {
  constexpr DecodeLayout kLayout(kLatentChunks);
  const int chunks = kLatentChunks + (params.has_rope ? 1 : 0);
  uint32_t n = 0, num_items = 0;
  ForEachItemOfBlock(params, [&](const DecodeItem& item) {
    BarrierWait(barriers[kQueriesEmpty], EmptyParity(num_items++));
    BarrierExpect(barriers[kQueriesFull], static_cast<uint32_t>(chunks * kChunkBytes));
    for (int chunk = 0; chunk < chunks; ++chunk) {
      TmaLoad2d(shared + kLayout.Queries(chunk), q_map, chunk * kChunkLanes, item.q_row,
                barriers[kQueriesFull]);
    }
    const uint32_t* table =
        params.block_tables + item.sequence * params.block_table_ld + item.first_token / kTileRows;
    const int num_tiles = NumTiles(item);
    for (int tile = 0; tile < num_tiles; ++tile, ++n) {
      CopyTile<kLatentChunks, kCluster>(latent_map, chunks, static_cast<int>(table[tile]), n,
                                        shared, barriers);
    }
  });
}

}  // namespace latentd::cuda
