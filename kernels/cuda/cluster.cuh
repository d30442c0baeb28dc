// Thread blocks of a cluster: a barrier, and reads from each other's shared memory.
#pragma once

#include <cstdint>

namespace latentd::cuda {

// All threads of all blocks; what they wrote to shared memory before is seen after.
__device__ inline void ClusterSync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// A float at the same shared address of the cluster's block `rank`, which must not have ended.
__device__ inline float LoadFromBlock(uint32_t address, int rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  float value;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(there) : "memory");
  return value;
}

}  // namespace latentd::cuda
