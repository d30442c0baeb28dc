// A thread block's shared memory in exchanged roles, and the warp that fills it.
#pragma once

#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/decode_ring.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/swapped_layout.h"

namespace latentd::cuda {

// A chunk in the ring.
struct RingChunk {
  uint32_t address;
  uint32_t full, empty;  // its barriers
  uint32_t use;          // of its slot
};

template <int kColumns, int kLatentChunks>
struct SwappedBlock {
  uint8_t* memory;
  uint32_t shared;  // its address
  Barriers barriers;

  __device__ explicit SwappedBlock(uint8_t* memory)
      : memory(memory),
        shared(SharedAddress(memory)),
        barriers{shared + SwappedLayout(kLatentChunks, kColumns).Barriers()} {}

  __device__ void InitBarriers() const {
    constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
    for (int i = 0; i < NumBarriers(kLayout.num_slots); ++i) {
      BarrierInit(barriers[i], NumSwappedArrivals(i));
    }
    BarrierInitFence();
  }
  __device__ uint32_t Queries(int chunk) const {
    constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
    return shared + kLayout.Queries(chunk);
  }
  __device__ uint32_t Weights() const {
    constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
    return shared + kLayout.Weights();
  }
  // The n-th that the thread block reads.
  __device__ RingChunk Chunk(uint32_t n) const {
    constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
    const RingPlace place = PlaceInRing(n, kLayout.num_slots);
    return {shared + kLayout.Slot(place.stage), barriers[StageFull(place.stage)],
            barriers[StageEmpty(place.stage)], place.use};
  }
  // [kColumns]
  __device__ float* Floats(int number) const {
    constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
    return reinterpret_cast<float*>(memory + kLayout.Numbers()) + number * kColumns;
  }
  __device__ int* Ints(int number) const { return reinterpret_cast<int*>(Floats(number)); }
  // Those of two neighbours; `column` is even.
  __device__ float2 FloatPair(int number, int column) const {
    return *reinterpret_cast<const float2*>(Floats(number) + column);
  }
  __device__ int2 IntPair(int number, int column) const {
    return *reinterpret_cast<const int2*>(Ints(number) + column);
  }
};

template <int kColumns, int kLatentChunks>
__device__ void ProduceChunks(const CUtensorMap* q_map, const CUtensorMap* latent_map,
                              const DecodeParams& params,
                              const SwappedBlock<kColumns, kLatentChunks>& block) {
  constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
  const int chunks = kLatentChunks + (params.has_rope ? 1 : 0);
  uint32_t n = 0, num_items = 0;
  ForEachItemOfBlock(params, [&](const DecodeItem& item) {
    const uint32_t queries_full = block.barriers[kQueriesFull];
    BarrierWait(block.barriers[kQueriesEmpty], EmptyParity(num_items++));
    BarrierExpect(queries_full, static_cast<uint32_t>(chunks * kLayout.QueryChunkBytes()));
    for (int chunk = 0; chunk < chunks; ++chunk) {
      TmaLoad2d(block.Queries(chunk), q_map, chunk * kChunkLanes, item.q_row, queries_full);
    }
    const uint32_t* table =
        params.block_tables + item.sequence * params.block_table_ld + item.first_token / kTileRows;
    const int num_tiles = NumTiles(item);
    for (int tile = 0; tile < num_tiles; ++tile) {
      const int granule = static_cast<int>(table[tile]);
      for (int chunk = 0; chunk < chunks; ++chunk, ++n) {
        const RingChunk to = block.Chunk(n);
        BarrierWait(to.empty, EmptyParity(to.use));
        BarrierExpect(to.full, kChunkBytes);
        TmaLoad3d(to.address, latent_map, chunk * kChunkLanes, 0, granule, to.full);
      }
    }
  });
}

}  // namespace latentd::cuda
