// Binds a body (body.h) to the device: its grid, its threads and the barriers between its phases.
#pragma once

#include <cuda_runtime_api.h>

#include <limits>

#include "kernels/cuda/body.h"
#include "kernels/cuda/check.cuh"
#include "kernels/cuda/kernel_list.cuh"

namespace latentd::cuda {

template <typename Body>
__global__ void __launch_bounds__(Body::kThreads) BodyKernel(const __grid_constant__ Body body) {
  __shared__ typename Body::Shared shared;
  typename Body::Thread own;
  const int num_phases = body.NumPhases();
  for (int phase = 0; phase < num_phases; ++phase) {
    if (phase > 0) __syncthreads();
    body.Run(phase, blockIdx.x, static_cast<int>(threadIdx.x), own, shared);
  }
}

// Enqueues the body's kernel, unless its grid is empty. Aborts when the launch fails.
template <typename Body>
void Launch(cudaStream_t stream, const Body& body) {
  ListKernel<&BodyKernel<Body>>();
  const int64_t num_blocks = body.NumBlocks();
  if (num_blocks == 0) return;
  LATENTD_CHECK(num_blocks <= std::numeric_limits<int>::max());
  BodyKernel<<<static_cast<unsigned>(num_blocks), Body::kThreads, 0, stream>>>(body);
  LATENTD_CUDA_CHECK(cudaGetLastError());
}

}  // namespace latentd::cuda
