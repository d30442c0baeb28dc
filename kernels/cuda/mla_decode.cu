// The decode attention of mla_decode.h for models of many heads; of few: mla_swapped.cu.
//
// A query row costs, per cached token, 2·(r_w + d_r) FLOP for q·k and 2·r_w for p·c; a token is
// 2·(r_w + d_r) bytes, and 4·G more with key norm. With r_w = 512, d_r = 64 and R rows that is
//   2176·R FLOP and 1152 + 4·G bytes, so 1.89·R FLOP per byte.
// The chips turn from memory-bound to compute-bound between 184 FLOP per byte (H200, measured
// rates: 790 TFLOP/s, 4.3 TB/s) and 295 (H100, its data sheet). So one tile of 64 rows (121 FLOP
// per byte) is bound by memory: 0.27 ns a token on the H200, against 0.18 ns for the products.
// Fewer rows take a tile's time on the matrix units all the same. 128 rows are two tiles that read
// the same tokens, and are bound by the products: 0.35 ns.
// By clocks of one processor: the products of a 64 × 64 tile take 2176 (2048 multiply-adds a
// clock), its bytes 4070 at 1.8 GHz, its exponentials 256. The softmax stands between S and P·C of
// one tile, and only what warpgroup 1 has left of the tile before runs beside it: some 700 clocks
// with empty matrix units (estimated). Below the bytes that costs nothing; with 128 rows it leaves
// about three quarters of the matrix rate. More needs two tiles in turn, each warpgroup scoring
// every other one: 4352 clocks a pair, of which a tile is in use for 3200 to 3330. With room for
// two, the next must come in the rest, at 64 to 72 bytes a clock; what L2 gives (below) leaves four
// fifths or a little more (computed). Not built before a device has shown the three quarters.
//
// Row tiles that read the same tokens, each by itself, take 73,728 bytes a tile of tokens out of L2
// in those 2900 clocks: 25 bytes a clock for each processor, 6 TB/s in all, of which half came from
// memory. L2 gives 30 to 40 at the very best (estimated), and less across the chip. So two row
// tiles are a cluster (kCluster = 2): each thread block copies every other chunk of a tile of
// tokens into the rings of both, and L2 gives 12.7 bytes a clock, 3 TB/s, each byte as it comes
// from memory. No shared memory goes into it, but a stage is filled again only when both blocks
// have read it: with two stages (r_w = 512) the faster block waits for the other. What stands
// between S and P·C stays: this alone cannot pass three quarters of the matrix rate, and what it
// gains is what L2 held up, estimated at an eighth at most.
//
// A thread block works on 64 rows and one span of tokens (decode_plan.h):
//   warpgroup 0     S = Q·Cᵀ, softmax, P to shared memory, its half of O += P·C
//   warpgroup 1     the other half of O += P·C, while warpgroup 0 is at the next S
//   warpgroup 2     one thread copies queries and 64-token tiles into a ring, by TMA
// The 64 × 512 fp32 output is half of the register file: 128 registers in each consumer thread, and
// the scores 32 more in warpgroup 0. Three warpgroups begin with 168 registers a thread, so the
// third hands its own to the others (240). There is no room for a second accumulator: an item that
// is a group folds its units in its own slot of global memory (L2), where each thread reads back
// only what it wrote. That is 8·r_w bytes of L2 traffic per row and 512 tokens, 8 bytes per row and
// token, and four round trips of waiting for each unit after an item's first.
#include "kernels/cuda/mla_decode.cuh"

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/decode_output.cuh"
#include "kernels/cuda/decode_ring.cuh"
#include "kernels/cuda/decode_scores.cuh"
#include "kernels/cuda/kernel_list.cuh"

namespace latentd::cuda {
namespace {

constexpr int kDecodeThreads = 3 * kThreadsOfGroup;

template <int kLatentChunks, int kCluster>
__device__ void ConsumeAndScore(const DecodeParams& params, uint32_t shared, float* largest_of_row,
                                const Barriers& barriers) {
  constexpr DecodeLayout kLayout(kLatentChunks);
  constexpr int kColumns = kLayout.NumChunks(0) * kChunkLanes;
  constexpr int64_t kRowFloats = SlotRowFloats(kLatentChunks * kChunkLanes);
  const int thread = static_cast<int>(threadIdx.x);
  const uint32_t weights_tile = shared + kLayout.Probabilities();
  const int tile_bytes = (kLatentChunks + (params.has_rope ? 1 : 0)) * kChunkBytes;
  uint32_t n = 0, num_items = 0;
  Output<kColumns> output;
  ForEachItemOfBlock(params, [&](const DecodeItem& item) {
    const ThreadRows rows(item, thread);
    float* slot = SlotRow(params, item, 0, kLatentChunks * kChunkLanes);
    RowSums sums;
    BarrierWait(barriers[kQueriesFull], FullParity(num_items++));
    const int num_tiles = NumTiles(item);
    for (int unit = 0; unit < num_tiles; unit += kTilesPerUnit) {
      output.Clear();
      for (int tile = unit; tile < min(unit + kTilesPerUnit, num_tiles); ++tile, ++n) {
        const RingPlace place = PlaceInRing(n, kLayout.num_stages);
        const uint32_t stage = shared + kLayout.Stage(place.stage, 0);
        const int first_token = item.first_token + tile * kTileRows;
        BarrierWait(barriers[StageFull(place.stage)], FullParity(place.use));
        if (item.end_token - first_token < kTileRows) {
          ZeroSlots(stage, tile_bytes, item.end_token - first_token, thread);
        }
        float scores[kScoreRegisters], largest[2], correction[2];
        MakeScores<kLatentChunks>(params, item, first_token, rows, shared, stage, thread, scores);
        if (tile + 1 == num_tiles) WarpArrive(barriers[kQueriesEmpty]);
        MaskScores(params, item, first_token, rows, thread, scores, largest);
        TileStep steps[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          steps[half] = StepTile(sums.largest[half], largest[half]);
          sums.largest[half] = steps[half].largest;
          correction[half] = steps[half].correction;
        }
        BarrierWait(barriers[kWeightsEmpty], EmptyParity(n));
        WriteWeights(scores, steps, weights_tile, thread, sums);
        if (thread % 4 == 0) {
          largest_of_row[rows.row[0]] = steps[0].largest;
          largest_of_row[rows.row[1]] = steps[1].largest;
        }
        SharedFence();
        BarrierArrive(barriers[kWeightsFull]);
        if constexpr (kColumns > 0) {
          output.Correct(correction);
          BarrierWait(barriers[kWeightsFull], FullParity(n));
          MultiplyValues<kColumns>(weights_tile, stage, output.sums);
        }
        WarpArrive(barriers[kWeightsEmpty]);
        ReleaseStage<kCluster>(barriers[StageEmpty(place.stage)]);
      }
      FoldWeights weights[2];
      sums.template EndUnit<true>(weights);
      output.FoldInto(slot, kRowFloats, rows, weights, unit == 0, thread);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (thread % 4 != 0 || !rows.exists[half]) continue;
      float* stats = slot + rows.row[half] * kRowFloats + kLatentChunks * kChunkLanes;
      stats[0] = sums.group_largest[half];
      stats[1] = sums.group_sum[half];
    }
  });
}

template <int kLatentChunks, int kCluster>
__device__ void Consume(const DecodeParams& params, uint32_t shared, const float* largest_of_row,
                        const Barriers& barriers) {
  constexpr DecodeLayout kLayout(kLatentChunks);
  constexpr int kColumns = kLayout.NumChunks(1) * kChunkLanes;
  constexpr int64_t kRowFloats = SlotRowFloats(kLatentChunks * kChunkLanes);
  const int thread = static_cast<int>(threadIdx.x) - kThreadsOfGroup;
  uint32_t n = 0;
  Output<kColumns> output;
  ForEachItemOfBlock(params, [&](const DecodeItem& item) {
    const ThreadRows rows(item, thread);
    float* slot =
        SlotRow(params, item, 0, kLatentChunks * kChunkLanes) + kLayout.FirstChunk(1) * kChunkLanes;
    RowSums sums;
    const int num_tiles = NumTiles(item);
    for (int unit = 0; unit < num_tiles; unit += kTilesPerUnit) {
      output.Clear();
      for (int tile = unit; tile < min(unit + kTilesPerUnit, num_tiles); ++tile, ++n) {
        const RingPlace place = PlaceInRing(n, kLayout.num_stages);
        BarrierWait(barriers[StageFull(place.stage)], FullParity(place.use));
        BarrierWait(barriers[kWeightsFull], FullParity(n));
        float correction[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          // The largest score already holds the tile's, so this is warpgroup 0's step once more.
          const TileStep step = StepTile(sums.largest[half], largest_of_row[rows.row[half]]);
          sums.largest[half] = step.largest;
          correction[half] = step.correction;
        }
        output.Correct(correction);
        MultiplyValues<kColumns>(shared + kLayout.Probabilities(),
                                 shared + kLayout.Stage(place.stage, kLayout.FirstChunk(1)),
                                 output.sums);
        WarpArrive(barriers[kWeightsEmpty]);
        ReleaseStage<kCluster>(barriers[StageEmpty(place.stage)]);
      }
      FoldWeights weights[2];
      sums.template EndUnit<false>(weights);
      output.FoldInto(slot, kRowFloats, rows, weights, unit == 0, thread);
    }
  });
}

template <int kLatentChunks, int kCluster>
__global__ void __launch_bounds__(kDecodeThreads, 1)
    MlaDecodeKernel(const __grid_constant__ CUtensorMap q_map,
                    const __grid_constant__ CUtensorMap latent_map,
                    const __grid_constant__ DecodeParams params) {
  extern __shared__ __align__(1024) uint8_t memory[];
  constexpr DecodeLayout kLayout(kLatentChunks);
  static_assert(kLayout.num_stages >= 2 && kLayout.Bytes() <= kSharedBytes);
  static_assert(kLayout.Barriers() + 8 * NumBarriers(kLayout.num_stages) <= kLayout.Bytes());
  const uint32_t shared = SharedAddress(memory);
  const Barriers barriers{shared + kLayout.Barriers()};
  auto* largest_of_row = reinterpret_cast<float*>(memory + kLayout.Largest());
  if (threadIdx.x == 0) {
    if (shared % 1024 != 0) __trap();  // the swizzle's pattern is one of addresses
    InitBarriers(barriers, kLayout.num_stages, kCluster);
  }
  if constexpr (kCluster == 1) {
    __syncthreads();
  } else {
    ClusterSync();
  }

  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (warp >= 2 * kWarpsOfGroup) {
    LowerRegisters();
    if (threadIdx.x == 2 * kThreadsOfGroup)
      Produce<kLatentChunks, kCluster>(&q_map, &latent_map, params, shared, barriers);
  } else if (warp < kWarpsOfGroup) {
    RaiseRegisters();
    ConsumeAndScore<kLatentChunks, kCluster>(params, shared, largest_of_row, barriers);
  } else {
    RaiseRegisters();
    Consume<kLatentChunks, kCluster>(params, shared, largest_of_row, barriers);
  }
  if constexpr (kCluster > 1) {
    __syncwarp();
    ClusterSync();  // the other block still arrives at this one's barriers
  }
}

template <int kLatentChunks, int kCluster>
void Launch(cudaStream_t stream, int num_ctas, const CUtensorMap& q_map,
            const CUtensorMap& latent_map, const DecodeParams& params) {
  constexpr int kBytes = DecodeLayout(kLatentChunks).Bytes();
  const auto kernel = &MlaDecodeKernel<kLatentChunks, kCluster>;
  ListKernel<&MlaDecodeKernel<kLatentChunks, kCluster>>();
  LATENTD_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes));
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kCluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(num_ctas));
  config.blockDim = dim3(kDecodeThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = kCluster == 1 ? 0 : 1;
  LATENTD_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, q_map, latent_map, params));
}

template <int kCluster>
constexpr decltype(&Launch<1, 1>) kLaunch[] = {
    Launch<1, kCluster>, Launch<2, kCluster>, Launch<3, kCluster>, Launch<4, kCluster>,
    Launch<5, kCluster>, Launch<6, kCluster>, Launch<7, kCluster>, Launch<8, kCluster>};

}  // namespace

void LaunchMlaDecode(cudaStream_t stream, int latent_chunks, const DecodePlan& plan,
                     const CUtensorMap& q_map, const CUtensorMap& latent_map,
                     const DecodeParams& params) {
  const auto& launch = plan.cluster == 1 ? kLaunch<1> : kLaunch<kClusterCtas>;
  launch[latent_chunks - 1](stream, plan.num_ctas, q_map, latent_map, params);
}

}  // namespace latentd::cuda
