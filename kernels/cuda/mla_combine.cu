#include "kernels/cuda/mla_combine.cuh"

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/kernel_list.cuh"
#include "kernels/cuda/partial_softmax.h"

namespace latentd::cuda {
namespace {

constexpr int kCombineThreads = 128;

// Four lanes of one row, with the weights' sum.
struct Partial {
  float largest = kNoScore;
  float sum = 0;
  float4 value = {0, 0, 0, 0};
};

__device__ void FoldInto(Partial& earlier, const Partial& later) {
  const FoldWeights weights = WeighFold(earlier.largest, later.largest);
  earlier.largest = weights.largest;
  earlier.sum = Fold(weights, earlier.sum, later.sum);
  earlier.value.x = Fold(weights, earlier.value.x, later.value.x);
  earlier.value.y = Fold(weights, earlier.value.y, later.value.y);
  earlier.value.z = Fold(weights, earlier.value.z, later.value.z);
  earlier.value.w = Fold(weights, earlier.value.w, later.value.w);
}

// Grid (row tiles, rows of the largest tile): a thread block makes one row, each thread four lanes.
// Bound by memory: every slot is read once, 4·r_w bytes per row and span of tokens.
__global__ void __launch_bounds__(kCombineThreads)
    MlaCombineKernel(const __grid_constant__ CombineParams params) {
  const DecodeRowTile tile = params.row_tiles[blockIdx.x];
  const int row = static_cast<int>(blockIdx.y);
  const int lane = 4 * static_cast<int>(threadIdx.x);
  if (row >= tile.num_rows || lane >= params.row_latent) return;

  const int64_t row_floats = SlotRowFloats(params.row_latent);
  Partial total, group;
  for (int i = 0; i < tile.num_slots; ++i) {
    const int64_t slot_row = static_cast<int64_t>(tile.first_slot + i) * params.slot_rows + row;
    const float* values = params.partials + slot_row * row_floats;
    Partial part;
    part.largest = values[params.row_latent];
    part.sum = values[params.row_latent + 1];
    part.value = *reinterpret_cast<const float4*>(values + lane);
    FoldInto(group, part);
    if ((i + 1) % params.slots_per_group == 0 || i + 1 == tile.num_slots) {
      FoldInto(total, group);
      group = Partial();
    }
  }
  const float4 out = {total.value.x / total.sum, total.value.y / total.sum,
                      total.value.z / total.sum, total.value.w / total.sum};
  *reinterpret_cast<float4*>(
      params.out + static_cast<int64_t>(tile.q_row + row) * params.row_latent + lane) = out;
}

}  // namespace

void LaunchMlaCombine(cudaStream_t stream, int num_row_tiles, const CombineParams& params) {
  const dim3 grid(static_cast<unsigned>(num_row_tiles), static_cast<unsigned>(params.slot_rows));
  ListKernel<&MlaCombineKernel>();
  MlaCombineKernel<<<grid, kCombineThreads, 0, stream>>>(params);
  LATENTD_CUDA_CHECK(cudaGetLastError());
}

}  // namespace latentd::cuda
