// The barriers of a decode thread block, and the warp that fills its ring.
#pragma once

#include "kernels/cuda/decode_layout.h"
#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/ptx.cuh"

namespace latentd::cuda {

constexpr int kWarpsOfGroup = 4;

// mbarriers, 8 bytes each, and who arrives.
struct Barriers {
  uint32_t base;
  __device__ uint32_t queries_full() const { return base; }        // producer, with the bytes
  __device__ uint32_t queries_empty() const { return base + 8; }   // warps of warpgroup 0
  __device__ uint32_t weights_full() const { return base + 16; }   // threads of warpgroup 0
  __device__ uint32_t weights_empty() const { return base + 24; }  // both groups' warps
  __device__ uint32_t full(int stage) const { return base + 32 + 16 * stage; }   // as queries_full
  __device__ uint32_t empty(int stage) const { return base + 40 + 16 * stage; }  // both groups'
};

__device__ inline void InitBarriers(const Barriers& barriers, int num_stages) {
  BarrierInit(barriers.queries_full(), 1);
  BarrierInit(barriers.queries_empty(), kWarpsOfGroup);
  BarrierInit(barriers.weights_full(), 128);
  BarrierInit(barriers.weights_empty(), 2 * kWarpsOfGroup);
  for (int stage = 0; stage < num_stages; ++stage) {
    BarrierInit(barriers.full(stage), 1);
    BarrierInit(barriers.empty(stage), 2 * kWarpsOfGroup);
  }
  BarrierInitFence();
}

// One arrival for each warp, after all its lanes.
__device__ inline void WarpArrive(uint32_t barrier) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) BarrierArrive(barrier);
}

// Which stage the n-th tile of this thread block is in, and the parity of its phases.
template <int kStages>
struct RingPlace {
  int stage;
  uint32_t parity;
  __device__ explicit RingPlace(uint32_t n)
      : stage(static_cast<int>(n % kStages)), parity(n / kStages & 1) {}
};

__device__ inline int NumTiles(const DecodeItem& item) {
  return (item.end_token - item.first_token + kTileRows - 1) / kTileRows;
}

template <int kLatentChunks>
__device__ void Produce(const CUtensorMap* q_map, const CUtensorMap* latent_map,
                        const DecodeParams& params, uint32_t shared, const Barriers& barriers) {
  constexpr DecodeLayout kLayout(kLatentChunks);
  const int chunks = kLatentChunks + (params.has_rope ? 1 : 0);
  uint32_t n = 0, num_items = 0;
  for (int i = static_cast<int>(blockIdx.x); i < params.num_items;
       i += static_cast<int>(gridDim.x)) {
    const DecodeItem item = params.items[i];
    BarrierWait(barriers.queries_empty(), (num_items++ & 1) ^ 1);
    BarrierExpect(barriers.queries_full(), static_cast<uint32_t>(chunks * kChunkBytes));
    for (int chunk = 0; chunk < chunks; ++chunk) {
      TmaLoad2d(shared + kLayout.Queries(chunk), q_map, chunk * kChunkLanes, item.q_row,
                barriers.queries_full());
    }
    const uint32_t* table =
        params.block_tables + item.sequence * params.block_table_ld + item.first_token / kTileRows;
    const int num_tiles = NumTiles(item);
    for (int tile = 0; tile < num_tiles; ++tile, ++n) {
      const RingPlace<kLayout.num_stages> place(n);
      BarrierWait(barriers.empty(place.stage), place.parity ^ 1);
      BarrierExpect(barriers.full(place.stage), static_cast<uint32_t>(chunks * kChunkBytes));
      const int granule = static_cast<int>(table[tile]);
      for (int chunk = 0; chunk < chunks; ++chunk) {
        TmaLoad3d(shared + kLayout.Stage(place.stage, chunk), latent_map, chunk * kChunkLanes, 0,
                  granule, barriers.full(place.stage));
      }
    }
  }
}

}  // namespace latentd::cuda
