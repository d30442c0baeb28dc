#include "kernels/cuda/measure/device_facts.h"

#include "kernels/cuda/check.cuh"

namespace latentd::cuda {

DeviceFacts DescribeDevice() {
  int device = 0;
  cudaDeviceProp properties;
  size_t free = 0, total = 0;
  DeviceFacts facts;
  LATENTD_CUDA_CHECK(cudaGetDevice(&device));
  LATENTD_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  LATENTD_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  LATENTD_CUDA_CHECK(cudaDriverGetVersion(&facts.driver_cuda));
  LATENTD_CUDA_CHECK(cudaRuntimeGetVersion(&facts.runtime_cuda));
  facts.name = properties.name;
  facts.num_processors = properties.multiProcessorCount;
  facts.memory_bytes = static_cast<int64_t>(total);
  facts.free_bytes = static_cast<int64_t>(free);
  facts.l2_bytes = properties.l2CacheSize;
  return facts;
}

}  // namespace latentd::cuda
