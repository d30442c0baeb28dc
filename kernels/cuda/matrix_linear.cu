// The kernel of matrix_linear.h.
//
// M tokens cost 2·M·N·K FLOP, W is 2·N·K bytes: M FLOP per byte. Up to 184 … 295 tokens (the chips'
// ratios, mla_decode.cu) a product is bound by reading W once, beyond by the matrix units. So
// operands change places: rows of W are wgmma's 64 rows, tokens its columns, of which 8 are the
// least. By clocks of one processor (1.8 GHz; 18 bytes of memory, 2048 multiply-adds and 128 bytes
// of shared memory a clock; all computed) a chunk, 64 lanes of K, costs in a tile of
//   tokens × rows   W, bytes   from memory   x, bytes from L2   products
//     8 × 64            8192       455              2048           64 (reading W)
//    16 × 64            8192       455              4096           64
//    32 × 128         16,384       910              8192          128
//    64 × 128         16,384       910            16,384          256
//   128 × 128         16,384       910            32,768          512
// Up to 64 tokens W's bytes are what takes the time, as long as some 30 KiB of them are under way
// on each processor (1 µs of latency): a ring has 80 KiB or more of W, of two thread blocks up to
// 32 tokens. With more, thread blocks that share W find it in L2; x is then 64 bytes a clock, more
// than L2 gives (30 to 40, estimated), which leaves half of the matrix rate or less. To round x to
// bf16 once before would halve that, for another launch and a scratch that few tokens do not need.
//
// A thread block makes a tile over a span of chunks:
//   warpgroups 0 … groups − 1   sums += W·xᵀ, 64 rows of W each
//   the last, warp 0            one thread copies W into the ring, by TMA
//   the last, warps 1 … 3       take chunks in turn: x from global memory, rounded to bf16, into
//   the
//                               ring with TMA's swizzle
// Few tiles leave processors idle: then a cluster of NumParts(K) thread blocks shares a tile, each
// with one part of K. They add up from each other's shared memory, each a share of the outputs, in
// the parts' order: no scratch, no counters, no second launch. Otherwise a block sums all parts, in
// the same order, in a second accumulator.
#include "kernels/cuda/check.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/kernel_list.cuh"
#include "kernels/cuda/matrix_linear_ring.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace latentd::cuda {
namespace {

template <int kTokens, bool kTransposed>
__device__ void MultiplyChunk(uint32_t weights, uint32_t tokens, float (&sums)[kTokens / 2]) {
  const uint64_t b = DescriptorAlongLanes(tokens);
  HoldRegisters(sums);
  WgmmaBegin();
#pragma unroll
  for (int step = 0; step < kStepsPerChunk; ++step) {
    Wgmma<kTokens, false, kTransposed>::Add(sums, WeightDescriptor(kTransposed, weights, step),
                                            Advance(b, step * kStepBytesAlongLanes));
  }
  WgmmaWait();
  HoldRegisters(sums);
}

// total: the sum of the block's parts, from the left.
template <int kTokens, bool kTransposed>
__device__ void SumParts(const LinearParams& params, PartRange parts, int group, uint32_t shared,
                         const Barriers& barriers, float (&total)[kTokens / 2]) {
  constexpr LinearLayout kLayout(kTokens);
  const int chunks = NumLaneChunks(params.k);
  uint32_t n = 0;
  for (int part = parts.first; part < parts.end; ++part) {
    float sums[kTokens / 2];
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) sums[i] = 0;
    const int length =
        PartBegin(chunks, params.parts, part + 1) - PartBegin(chunks, params.parts, part);
    for (int chunk = 0; chunk < length; ++chunk, ++n) {
      const RingPlace place = PlaceInRing(n, kLayout.num_stages);
      BarrierWait(barriers[ChunkFull(place.stage)], FullParity(place.use));
      MultiplyChunk<kTokens, kTransposed>(shared + kLayout.Weights(place.stage, group),
                                          shared + kLayout.Tokens(place.stage), sums);
      WarpArrive(barriers[ChunkEmpty(place.stage)]);
    }
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) {
      total[i] = part == parts.first ? sums[i] : total[i] + sums[i];
    }
  }
}

// The cluster's sums, of which this block adds and writes every cluster-th run of its threads.
__device__ void WriteOutputs(const LinearParams& params, const LinearLayout& layout,
                             const LinearTile& tile, int rank, uint32_t shared) {
  const int step = params.cluster * layout.Threads();
  for (int i = rank * layout.Threads() + static_cast<int>(threadIdx.x);
       i < tile.num_tokens * layout.Rows(); i += step) {
    const int token = i / layout.Rows(), row = i % layout.Rows();
    const int column = tile.first_row + row;
    if (column >= params.n) continue;
    const uint32_t place = shared + layout.Sum(token, row);
    float sum = LoadFromBlock(place, 0);
    for (int part = 1; part < params.cluster; ++part) sum += LoadFromBlock(place, part);
    *OutputOf(params, tile, token, column) =
        params.bias == nullptr ? sum : sum + params.bias[column];
  }
}

template <int kTokens, bool kTransposed>
__global__ void __launch_bounds__(LinearLayout(kTokens).Threads(), LinearLayout(kTokens).blocks)
    MatrixLinearKernel(const __grid_constant__ CUtensorMap w_map,
                       const __grid_constant__ LinearParams params) {
  extern __shared__ __align__(1024) uint8_t memory[];
  constexpr LinearLayout kLayout(kTokens);
  static_assert(kLayout.num_stages >= kTokenWarps && kLayout.Bytes() <= kSharedBytes);
  static_assert(8 * 2 * kLayout.num_stages <= LinearLayout::kBarrierBytes);
  static_assert(kLayout.Sum(kTokens, 0) <= kLayout.Barriers());
  const uint32_t shared = SharedAddress(memory);
  const Barriers barriers{shared + kLayout.Barriers()};
  if (threadIdx.x == 0) {
    if (shared % 1024 != 0) __trap();  // the swizzle's pattern is one of addresses
    for (int i = 0; i < 2 * kLayout.num_stages; ++i) {
      BarrierInit(barriers[i], NumChunkArrivals(i, kLayout.groups));
    }
    BarrierInitFence();
  }
  __syncthreads();

  const int rank = static_cast<int>(blockIdx.x) % params.cluster;
  const LinearTile tile =
      LinearTileOf(params, kLayout, static_cast<int>(blockIdx.x) / params.cluster);
  const int group = static_cast<int>(threadIdx.x) / kThreadsOfGroup;
  const int thread = static_cast<int>(threadIdx.x) % kThreadsOfGroup;
  float total[kTokens / 2];
  if (group < kLayout.groups) {
    SumParts<kTokens, kTransposed>(params, PartsOfBlock(params, rank), group, shared, barriers,
                                   total);
  } else if (thread == 0) {
    CopyWeights<kTransposed>(&w_map, params, kLayout, tile, ChunksOfBlock(params, rank), shared,
                             barriers);
  } else if (thread >= 32) {
    RoundTokens<kTokens>(params, tile, ChunksOfBlock(params, rank), thread / 32 - 1, thread % 32,
                         shared, barriers);
  }
  __syncwarp();
  __syncthreads();  // the ring is read to its end
  if (group < kLayout.groups) {
#pragma unroll
    for (int i = 0; i < kTokens / 2; ++i) {
      const int row = group * kTileRows + FragmentRow(thread, i);
      StoreShared(shared + kLayout.Sum(FragmentColumn(thread, i), row), __float_as_uint(total[i]));
    }
  }
  // The second keeps a block's sums until the others have read them.
  if (params.cluster == 1) {
    __syncthreads();
    WriteOutputs(params, kLayout, tile, rank, shared);
  } else {
    ClusterSync();
    WriteOutputs(params, kLayout, tile, rank, shared);
    ClusterSync();
  }
}

template <int kTokens, bool kTransposed>
void LaunchTiles(cudaStream_t stream, const CUtensorMap& w_map, const LinearParams& params) {
  constexpr LinearLayout kLayout(kTokens);
  const auto kernel = &MatrixLinearKernel<kTokens, kTransposed>;
  ListKernel<&MatrixLinearKernel<kTokens, kTransposed>>();
  LATENTD_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kLayout.Bytes()));
  cudaLaunchAttribute cluster = {};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {static_cast<unsigned>(params.cluster), 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(NumTiles(params) * params.cluster));
  config.blockDim = dim3(kLayout.Threads());
  config.dynamicSmemBytes = kLayout.Bytes();
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  LATENTD_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, w_map, params));
}

template <bool kTransposed>
void LaunchPlan(cudaStream_t stream, int tile_tokens, const CUtensorMap& w_map,
                const LinearParams& params) {
  switch (tile_tokens) {
    case 8:
      return LaunchTiles<8, kTransposed>(stream, w_map, params);
    case 16:
      return LaunchTiles<16, kTransposed>(stream, w_map, params);
    case 32:
      return LaunchTiles<32, kTransposed>(stream, w_map, params);
    case 64:
      return LaunchTiles<64, kTransposed>(stream, w_map, params);
    default:
      return LaunchTiles<128, kTransposed>(stream, w_map, params);
  }
}

}  // namespace

void MatrixLinear(CUstream_st* stream, const MatrixProduct& product, const LinearPlan& plan) {
  CheckMatrixLinear(product, plan);
  const LinearParams params = LinearParamsOf(product, plan);
  if (NumTiles(params) == 0) return;
  const CUtensorMap w_map = EncodeTensorMap(product.args.w.data, WeightBox(product.args));
  const auto launch = product.transposed ? &LaunchPlan<true> : &LaunchPlan<false>;
  launch(stream, plan.tile_tokens, w_map, params);
}

}  // namespace latentd::cuda
