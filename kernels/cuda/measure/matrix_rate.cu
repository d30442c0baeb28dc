// The rate of the matrix units alone.
//
// A step is 64 × 256 × 64 multiply-adds, 512 clocks of a processor's matrix units at 2048 a clock,
// with 10 KiB of operands for each 128 clocks read from shared memory, which gives 16 KiB in that
// time. Two warpgroups take turns: while one waits for its sums, the other's products run. The
// operands are random, as zeros draw less power and let the clock rise.
#include "kernels/cuda/measure/matrix_rate.h"

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/kernel_list.cuh"
#include "kernels/cuda/measure/traffic.h"
#include "kernels/cuda/measure/traffic_body.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace latentd::cuda {
namespace {

constexpr int kSums = kMatrixColumns / 2;
constexpr double kFlopsOfStep = 2.0 * kTileRows * kMatrixColumns * kChunkLanes;

__global__ void __launch_bounds__(kMatrixThreads, 1) MatrixRateKernel(int steps, float* out) {
  __shared__ __align__(1024) uint32_t operands[kMatrixWords];
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kMatrixWords; i += kMatrixThreads) {
    operands[i] = RandomPair(static_cast<uint64_t>(i), blockIdx.x);
  }
  SharedFence();
  __syncthreads();
  const uint32_t shared = SharedAddress(operands);
  const uint64_t a = DescriptorAlongLanes(shared + thread / 128 * kChunkBytes);
  const uint64_t b = DescriptorAlongLanes(shared + kMatrixColumnsChunk * kChunkBytes);
  float sums[kSums];
#pragma unroll
  for (int i = 0; i < kSums; ++i) sums[i] = 0;
  for (int step = 0; step < steps; ++step) {
    HoldRegisters(sums);
    WgmmaBegin();
#pragma unroll
    for (int k = 0; k < kStepsPerChunk; ++k) {
      Wgmma<kMatrixColumns, false>::Add(sums, Advance(a, k * kStepBytesAlongLanes),
                                        Advance(b, k * kStepBytesAlongLanes));
    }
    WgmmaWait();
    HoldRegisters(sums);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kSums; ++i) total += sums[i];
  out[blockIdx.x * kMatrixThreads + threadIdx.x] = total;
}

}  // namespace

double MultiplyMatrices(CUstream_st* stream, int steps, int num_processors, std::byte* sums) {
  ListKernel<&MatrixRateKernel>();
  MatrixRateKernel<<<static_cast<unsigned>(num_processors), kMatrixThreads, 0, stream>>>(
      steps, reinterpret_cast<float*>(sums));
  LATENTD_CUDA_CHECK(cudaGetLastError());
  return kFlopsOfStep * kMatrixGroups * steps * num_processors;
}

int64_t MatrixScratchBytes(int num_processors) {
  return int64_t{num_processors} * kMatrixThreads * static_cast<int64_t>(sizeof(float));
}

}  // namespace latentd::cuda
