// The decode attention of mla_decode.h for models of few heads (swapped_layout.h), with operands in
// exchanged roles: tokens are wgmma's 64 rows, query rows its columns, of which 16, 32 or 64 are
// taken.
//
// A tile of 64 tokens with r_w = 512 and d_r = 64 is 72 KiB in 9 chunks, and 36 + 32 steps of depth
// 16 on the matrix units, each of which reads 2048 bytes of tokens and 32·N of queries or weights
// from shared memory. By clocks of one processor (1.8 GHz; 18 bytes of memory, 2048 multiply-adds
// and 128 bytes of shared memory a clock; all computed):
//   rows   FLOP per byte   N    products   operands   memory   rows as wgmma's rows (mla_decode.cu)
//    12         23         16      544       1360      4070      2176
//    16         30         16      544       1360      4070      2176
//    32         60         32     1088       1632      4070      2176
//    48         91         64     2176       2176      4070      2176
//    64        121         64     2176       2176      4070      2176
// So reading operands bounds the products of few rows, memory bounds the tile, of any number of
// rows, and exchanged roles alone only shorten what stands between a tile's arrival and its
// release: 1360 clocks and a softmax of some 500 (estimated) of 16 rows, against 2176 and 700. They
// also leave room. 64 rows of queries are 72 KiB, 16 are 18: the ring has 25 chunks of 8 KiB
// instead of two tiles, a tile is released in three parts (rotary chunk, either warpgroup's lanes)
// as their products are over, and what is under way is nowhere less than the 33 KiB that 1 µs of
// latency takes. Tiles of mla_decode.cu are
// released whole; while the one is read, only the other is under way.
// Prefill packs the rows of several tokens into tiles of up to 64 and finds tokens in L2 (2100
// clocks a tile at 35 bytes a clock, estimated): 64 columns cost there what 64 rows do.
//
// Roles and order of sums are those of mla_decode.cu:
//   warpgroup 0     Sᵀ = C·Qᵀ, softmax, P to shared memory, its lanes of Oᵀ += Cᵀ·Pᵀ
//   warpgroup 1     the other lanes of Oᵀ, while warpgroup 0 is at the next Sᵀ
//   warpgroup 2     one thread copies queries and chunks into the ring, by TMA
// A column's 64 scores lie in 8 lanes of 4 warps: its largest goes through shared memory, thread i
// steps the softmax of column i for all, and the sum of weights is kept by token (two of each tile
// a thread) until a unit ends, then added over lanes and warps.
// Beside a tile's products stand, within its 4070 clocks: α, with key norm, one round trip to L2 or
// memory; at a unit's end the fold in the item's slot (mla_decode.cu), whose loads come four
// columns at a time, so one round trip with N = 16 and four with 64.
// Registers a thread: 2·N of Oᵀ, and in warpgroup 0 N / 2 scores and N / 4 sums more: 44 to 176.
#include "kernels/cuda/mla_swapped.cuh"

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/kernel_list.cuh"
#include "kernels/cuda/swapped_output.cuh"
#include "kernels/cuda/swapped_scores.cuh"
#include "kernels/cuda/swapped_softmax.cuh"

namespace latentd::cuda {
namespace {

constexpr int kSwappedThreads = 3 * kThreadsOfGroup;

// The weights of a tile, from its scores; n: tiles before it.
template <int kColumns, int kLatentChunks>
__device__ void MakeWeights(const DecodeParams& params, const DecodeItem& item,
                            const SwappedTile& tile, uint32_t n,
                            const SwappedBlock<kColumns, kLatentChunks>& block, int thread,
                            ColumnSums& column, float (&sums)[kColumns / 4]) {
  float scores[kColumns / 2];
  MakeScores(params, item, tile, block, thread, scores);
  if (tile.first_token + kTileRows >= item.end_token) WarpArrive(block.barriers[kQueriesEmpty]);
  MaskScores(params, tile.first_token, block, thread, scores);
  WarpgroupSync(1);
  BarrierWait(block.barriers[kWeightsEmpty], EmptyParity(n));
  if (thread < kColumns) StepColumn(block, tile.ends_unit, thread, column);
  if (item.end_token - tile.first_token < kTileRows) {
    ZeroSlots(block, tile.first_chunk, item.end_token - tile.first_token, thread);
  }
  WarpgroupSync(1);
  WriteWeights(scores, block, thread, sums);
  SharedFence();
  BarrierArrive(block.barriers[kWeightsFull]);
}

template <int kColumns, int kLatentChunks>
__device__ void ConsumeAndScore(const DecodeParams& params,
                                const SwappedBlock<kColumns, kLatentChunks>& block) {
  constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
  constexpr int64_t kRowFloats = SlotRowFloats(kLatentChunks * kChunkLanes);
  const int thread = static_cast<int>(threadIdx.x);
  const uint32_t chunks = kLatentChunks + (params.has_rope ? 1 : 0);
  uint32_t n = 0, num_items = 0;
  SwappedOutput<kColumns, kLatentChunks, kLayout.NumChunks(0)> output;
  ForEachItemOfBlock(params, [&](const DecodeItem& item) {
    float* slot = SlotRow(params, item, 0, kLatentChunks * kChunkLanes);
    ColumnSums column;
    SetRows(params, item, block, thread);
    BarrierWait(block.barriers[kQueriesFull], FullParity(num_items++));
    const int num_tiles = NumTiles(item);
    for (int unit = 0; unit < num_tiles; unit += kTilesPerUnit) {
      const int end = min(unit + kTilesPerUnit, num_tiles);
      float sums[kColumns / 4] = {};
      output.Clear();
      for (int tile = unit; tile < end; ++tile, ++n) {
        const bool ends_unit = tile + 1 == end;
        MakeWeights(params, item, {n * chunks, item.first_token + tile * kTileRows, ends_unit}, n,
                    block, thread, column, sums);
        output.Correct(block, thread);
        BarrierWait(block.barriers[kWeightsFull], FullParity(n));
        output.Multiply(block, n * chunks);
        if (ends_unit) {
          EndUnit(block, thread, sums, column);
          output.FoldInto(slot, kRowFloats, item.num_rows, block, unit == 0, thread);
        }
        WarpArrive(block.barriers[kWeightsEmpty]);
      }
    }
    if (thread < item.num_rows) {
      float* stats = slot + thread * kRowFloats + kLatentChunks * kChunkLanes;
      stats[0] = column.group_largest;
      stats[1] = column.group_sum;
    }
  });
}

template <int kColumns, int kLatentChunks>
__device__ void Consume(const DecodeParams& params,
                        const SwappedBlock<kColumns, kLatentChunks>& block) {
  constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
  constexpr int64_t kRowFloats = SlotRowFloats(kLatentChunks * kChunkLanes);
  const int thread = static_cast<int>(threadIdx.x) - kThreadsOfGroup;
  const uint32_t chunks = kLatentChunks + (params.has_rope ? 1 : 0);
  uint32_t n = 0;
  SwappedOutput<kColumns, kLatentChunks, kLayout.NumChunks(1)> output;
  ForEachItemOfBlock(params, [&](const DecodeItem& item) {
    float* slot =
        SlotRow(params, item, 0, kLatentChunks * kChunkLanes) + kLayout.FirstChunk(1) * kChunkLanes;
    const int num_tiles = NumTiles(item);
    for (int unit = 0; unit < num_tiles; unit += kTilesPerUnit) {
      const int end = min(unit + kTilesPerUnit, num_tiles);
      output.Clear();
      for (int tile = unit; tile < end; ++tile, ++n) {
        BarrierWait(block.barriers[kWeightsFull], FullParity(n));
        output.Correct(block, thread);
        output.Multiply(block, n * chunks + kLayout.FirstChunk(1));
        if (tile + 1 == end) {
          output.FoldInto(slot, kRowFloats, item.num_rows, block, unit == 0, thread);
        }
        WarpArrive(block.barriers[kWeightsEmpty]);
      }
    }
  });
}

template <int kColumns, int kLatentChunks>
__global__ void __launch_bounds__(kSwappedThreads, 1)
    MlaSwappedKernel(const __grid_constant__ CUtensorMap q_map,
                     const __grid_constant__ CUtensorMap latent_map,
                     const __grid_constant__ DecodeParams params) {
  extern __shared__ __align__(1024) uint8_t memory[];
  constexpr SwappedLayout kLayout(kLatentChunks, kColumns);
  static_assert(kLayout.num_slots >= 2 * (kLatentChunks + 1) && kLayout.Bytes() <= kSharedBytes);
  static_assert(kLayout.QueryChunkBytes() % kPatternBytes == 0 && kColumns <= kChunkLanes);
  const SwappedBlock<kColumns, kLatentChunks> block(memory);
  if (threadIdx.x == 0) {
    if (block.shared % 1024 != 0) __trap();  // the swizzle's pattern is one of addresses
    block.InitBarriers();
  }
  __syncthreads();

  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (warp >= 2 * kWarpsOfGroup) {
    LowerRegisters();
    if (threadIdx.x == 2 * kThreadsOfGroup) ProduceChunks(&q_map, &latent_map, params, block);
  } else if (warp < kWarpsOfGroup) {
    RaiseRegisters();
    ConsumeAndScore(params, block);
  } else {
    RaiseRegisters();
    Consume(params, block);
  }
}

template <int kColumns, int kLatentChunks>
void Launch(cudaStream_t stream, int num_ctas, const CUtensorMap& q_map,
            const CUtensorMap& latent_map, const DecodeParams& params) {
  constexpr int kBytes = SwappedLayout(kLatentChunks, kColumns).Bytes();
  const auto kernel = &MlaSwappedKernel<kColumns, kLatentChunks>;
  ListKernel<&MlaSwappedKernel<kColumns, kLatentChunks>>();
  LATENTD_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  kernel<<<num_ctas, kSwappedThreads, kBytes, stream>>>(q_map, latent_map, params);
  LATENTD_CUDA_CHECK(cudaGetLastError());
}

template <int kColumns>
void LaunchColumns(cudaStream_t stream, int latent_chunks, int num_ctas, const CUtensorMap& q_map,
                   const CUtensorMap& latent_map, const DecodeParams& params) {
  constexpr decltype(&Launch<kColumns, 1>) kLaunch[] = {
      Launch<kColumns, 1>, Launch<kColumns, 2>, Launch<kColumns, 3>, Launch<kColumns, 4>,
      Launch<kColumns, 5>, Launch<kColumns, 6>, Launch<kColumns, 7>, Launch<kColumns, 8>};
  kLaunch[latent_chunks - 1](stream, num_ctas, q_map, latent_map, params);
}

}  // namespace

void LaunchMlaSwapped(cudaStream_t stream, int columns, int latent_chunks, int num_ctas,
                      const CUtensorMap& q_map, const CUtensorMap& latent_map,
                      const DecodeParams& params) {
  const auto launch = columns == 16   ? LaunchColumns<16>
                      : columns == 32 ? LaunchColumns<32>
                                      : LaunchColumns<64>;
  launch(stream, latent_chunks, num_ctas, q_map, latent_map, params);
}

}  // namespace latentd::cuda
