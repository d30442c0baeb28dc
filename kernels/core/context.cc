#include "kernels/core/context.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef __aarch64__
#include <sys/auxv.h>
#include <sys/prctl.h>
#endif

#include "kernels/core/check.h"

namespace latentd {
namespace {

constexpr CpuPath kPaths[] = {CpuPath::kScalar,     CpuPath::kAvx2, CpuPath::kAvx512,
                              CpuPath::kAvx512Bf16, CpuPath::kAmx,  CpuPath::kNeon,
                              CpuPath::kSve};

}  // namespace

std::string_view Name(CpuPath path) {
  switch (path) {
    case CpuPath::kScalar:
      return "scalar";
    case CpuPath::kAvx2:
      return "avx2";
    case CpuPath::kAvx512:
      return "avx512";
    case CpuPath::kAvx512Bf16:
      return "avx512-bf16";
    case CpuPath::kAmx:
      return "amx";
    case CpuPath::kNeon:
      return "neon";
    case CpuPath::kSve:
      return "sve";
  }
  LATENTD_CHECK(!"a CpuPath outside its enumeration");
}

std::optional<CpuPath> ParseCpuPath(std::string_view name) {
  for (const CpuPath path : kPaths) {
    if (name == Name(path)) return path;
  }
  return std::nullopt;
}

#ifdef __x86_64__
namespace {

// Two features that clang 14's __builtin_cpu_supports does not know. Their registers are those of
// AVX and AVX-512, which the callers ask for as well.
bool HasF16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

bool HasAvx512Bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 5)) != 0;
}

// Tiles and their bf16 product, by the CPU; and the tiles' 8 KiB of state, which the system gives
// only to a process that asked.
bool HasAmxBf16() {
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // asm/prctl.h; XSAVE component
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

// __builtin_cpu_supports looks at XCR0 too, so a kernel without AVX-512 state counts as "no".
bool Supported(CpuPath path) {
  switch (path) {
    case CpuPath::kScalar:
      return true;
    case CpuPath::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
    case CpuPath::kAvx512:
      return Supported(CpuPath::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    case CpuPath::kAvx512Bf16:
      return Supported(CpuPath::kAvx512) && HasAvx512Bf16();
    case CpuPath::kAmx:
      return Supported(CpuPath::kAvx512Bf16) && HasAmxBf16();
    case CpuPath::kNeon:
    case CpuPath::kSve:
      return false;
  }
  return false;
}
#elif defined(__aarch64__)
namespace {

// Also that vectors are as long as the path was compiled for, neither longer nor shorter. The
// length is the calling thread's, which threads started later inherit.
bool HasSve256() {
  constexpr unsigned long kProducts = HWCAP2_SVEBF16 | HWCAP2_SVEI8MM;
  if ((getauxval(AT_HWCAP) & HWCAP_SVE) == 0) return false;
  if ((getauxval(AT_HWCAP2) & kProducts) != kProducts) return false;
  const int answer = prctl(PR_SVE_GET_VL);
  return answer >= 0 && (answer & PR_SVE_VL_LEN_MASK) == 32;
}

}  // namespace

bool Supported(CpuPath path) {
  return path == CpuPath::kScalar || path == CpuPath::kNeon ||
         (path == CpuPath::kSve && HasSve256());
}
#else
bool Supported(CpuPath path) { return path == CpuPath::kScalar; }
#endif

CpuPath BestCpuPath() {
  CpuPath best = CpuPath::kScalar;
  for (const CpuPath path : kPaths) {
    if (path != CpuPath::kAmx && Supported(path)) best = path;
  }
  return best;
}

}  // namespace latentd
