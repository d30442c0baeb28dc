// Updates of shared memory that several threads make in one phase. Of integers only, whose results
// do not depend on the order. On the CPU the emulator runs one thread at a time.
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.h"

namespace latentd::cuda {

LATENTD_HD inline void AtomicAdd(uint32_t& at, uint32_t value) {
#if defined(__CUDA_ARCH__)
  atomicAdd(&at, value);
#else
  at += value;
#endif
}

LATENTD_HD inline void AtomicAdd(uint64_t& at, uint64_t value) {
#if defined(__CUDA_ARCH__)
  atomicAdd(reinterpret_cast<unsigned long long*>(&at), value);  // NOLINT: what CUDA calls it
#else
  at += value;
#endif
}

LATENTD_HD inline void AtomicMin(uint32_t& at, uint32_t value) {
#if defined(__CUDA_ARCH__)
  atomicMin(&at, value);
#else
  at = value < at ? value : at;
#endif
}

LATENTD_HD inline void AtomicMax(uint32_t& at, uint32_t value) {
#if defined(__CUDA_ARCH__)
  atomicMax(&at, value);
#else
  at = value > at ? value : at;
#endif
}

}  // namespace latentd::cuda
