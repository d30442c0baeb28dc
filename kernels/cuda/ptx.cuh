// The instructions that C++ has no name for, one function each.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace latentd::cuda {

__device__ inline uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// mbarriers, by shared address.
__device__ inline void BarrierInit(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Makes initialised barriers known to TMA.
__device__ inline void BarrierInitFence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ inline void BarrierArrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void BarrierExpect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Returns when the phase of this parity is over; before any phase, parity 1 is.
__device__ inline void BarrierWait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
// All threads of a warpgroup, by a numbered hardware barrier.
__device__ inline void WarpgroupSync(int id) {
  asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory");
}

// Three warpgroups begin with 168 registers a thread (65,536 in all): the producer's gives up what
// the consumers take. Every warp of a warpgroup.
__device__ inline void LowerRegisters() { asm volatile("setmaxnreg.dec.sync.aligned.u32 24;"); }
__device__ inline void RaiseRegisters() { asm volatile("setmaxnreg.inc.sync.aligned.u32 240;"); }

// Plain writes to shared memory become visible to TMA and wgmma, which read by another way.
__device__ inline void SharedFence() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ inline void TmaLoad2d(uint32_t target, const CUtensorMap* map, int x, int y,
                                 uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(target),
      "l"(map), "r"(x), "r"(y), "r"(barrier)
      : "memory");
}
__device__ inline void TmaLoad3d(uint32_t target, const CUtensorMap* map, int x, int y, int z,
                                 uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(target),
      "l"(map), "r"(x), "r"(y), "r"(z), "r"(barrier)
      : "memory");
}

// Two floats rounded to bf16 (nearest even), `low` in the low half.
__device__ inline uint32_t PackBf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
__device__ inline void StoreShared(uint32_t address, uint32_t value) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}
// The low half.
__device__ inline void StoreSharedHalf(uint32_t address, uint32_t value) {
  asm volatile("st.shared.b16 [%0], %1;" ::"r"(address), "h"(static_cast<uint16_t>(value))
               : "memory");
}
__device__ inline void StoreShared2(uint32_t address, uint32_t first, uint32_t second) {
  asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(address), "r"(first), "r"(second)
               : "memory");
}
__device__ inline void StoreSharedZeros16(uint32_t address) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(address), "r"(0) : "memory");
}

// Global memory, in the order of the calls: the compiler moves none of them over another.
__device__ inline float2 LoadFloat2(const float* place) {
  float2 value;
  asm volatile("ld.global.v2.f32 {%0, %1}, [%2];"
               : "=f"(value.x), "=f"(value.y)
               : "l"(place)
               : "memory");
  return value;
}
__device__ inline float LoadFloat(const float* place) {
  float value;
  asm volatile("ld.global.f32 %0, [%1];" : "=f"(value) : "l"(place) : "memory");
  return value;
}
__device__ inline void StoreFloat(float* place, float value) {
  asm volatile("st.global.f32 [%0], %1;" ::"l"(place), "f"(value) : "memory");
}
__device__ inline void StoreFloat2(float* place, float2 value) {
  asm volatile("st.global.v2.f32 [%0], {%1, %2};" ::"l"(place), "f"(value.x), "f"(value.y)
               : "memory");
}

}  // namespace latentd::cuda
