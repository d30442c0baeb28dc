// Thread blocks of a cluster: barriers, copies into all of them, and reads from each other's shared
// memory. A block that another one reaches must not have ended.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace latentd::cuda {

// All threads of all blocks; what they wrote to shared memory before is seen after.
__device__ inline void ClusterSync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The same shared address in the cluster's block `rank`, this one or another.
__device__ inline uint32_t AddressInBlock(uint32_t address, int rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

__device__ inline float LoadFromBlock(uint32_t address, int rank) {
  float value;
  asm volatile("ld.shared::cluster.f32 %0, [%1];"
               : "=f"(value)
               : "r"(AddressInBlock(address, rank))
               : "memory");
  return value;
}

// At the mbarrier of block `rank`, whose own address is given.
__device__ inline void BarrierArriveInBlock(uint32_t barrier, int rank) {
  asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(
                   AddressInBlock(barrier, rank))
               : "memory");
}
// BarrierWait on a barrier of this block at which threads of others arrive too.
__device__ inline void BarrierWaitOnCluster(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// TmaLoad3d into each block of the mask: bit i is block i. Data and signals go to the same shared
// addresses of all.
__device__ inline void TmaMulticast3d(uint32_t target, const CUtensorMap* map, int x, int y, int z,
                                      uint32_t barrier, uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(target),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier), "h"(blocks)
      : "memory");
}

}  // namespace latentd::cuda
