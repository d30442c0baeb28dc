#include "kernels/cpu/table.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace latentd {

#if defined(__aarch64__)
bool HasSdot() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
#endif

namespace {

// Only the tables that are asked for are filled: the functions run on this machine's path alone.
template <CpuPath kPath>
const CpuKernels* Table() {
  static const CpuKernels kernels = [] {
    CpuKernels filled;
#if defined(__x86_64__)
    AddAvx2Kernels(filled);
    AddAvx2Int8(filled);
    if (kPath >= CpuPath::kAvx512) {
      AddAvx512Kernels(filled);
      if (__builtin_cpu_supports("avx512vnni")) AddAvx512VnniInt8(filled);
    }
    if (kPath >= CpuPath::kAvx512Bf16) AddAvx512Bf16Kernels(filled);
    if (kPath == CpuPath::kAmx) AddAmxKernels(filled);
#elif defined(__aarch64__)
    AddNeonKernels(filled);
    AddNeonInt8(filled);
    if (HasSdot()) AddNeonDotInt8(filled);
    if (kPath == CpuPath::kSve) {
      AddSveKernels(filled);
      AddSveInt8(filled);
    }
#endif
    return filled;
  }();
  return &kernels;
}

}  // namespace

const CpuKernels* KernelsOf(CpuPath path) {
  switch (path) {
    case CpuPath::kScalar:
      return nullptr;
    case CpuPath::kAvx2:
      return Table<CpuPath::kAvx2>();
    case CpuPath::kAvx512:
      return Table<CpuPath::kAvx512>();
    case CpuPath::kAvx512Bf16:
      return Table<CpuPath::kAvx512Bf16>();
    case CpuPath::kAmx:
      return Table<CpuPath::kAmx>();
    case CpuPath::kNeon:
      return Table<CpuPath::kNeon>();
    case CpuPath::kSve:
      return Table<CpuPath::kSve>();
  }
  return nullptr;
}

}  // namespace latentd
