#include "tests/kernels/support.h"

#include <cmath>
#include <csignal>

#include <ucontext.h>
#include <catch2/catch.hpp>

namespace latentd {
namespace {

#ifdef __x86_64__
volatile bool g_is_illegal = false;

// Steps over the instruction below, which is six bytes long.
void OnIllegalInstruction(int, siginfo_t*, void* context) {
  g_is_illegal = true;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 6;
}

bool ExecutesBf16() {
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_sigaction = OnIllegalInstruction;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, &before);
  asm volatile("vdpbf16ps %%zmm0, %%zmm0, %%zmm0" ::: "xmm0");
  sigaction(SIGILL, &before, nullptr);
  return !g_is_illegal;
}
#else
bool ExecutesBf16() { return false; }
#endif

}  // namespace

std::vector<CpuPath> RunnablePaths() {
  static const std::vector<CpuPath> paths = [] {
    std::vector<CpuPath> found;
    for (const CpuPath path :
         {CpuPath::kScalar, CpuPath::kNeon, CpuPath::kSve, CpuPath::kAvx2, CpuPath::kAvx512}) {
      if (Supported(path)) found.push_back(path);
    }
    if (Supported(CpuPath::kAvx512Bf16) || (Supported(CpuPath::kAvx512) && ExecutesBf16())) {
      found.push_back(CpuPath::kAvx512Bf16);
    }
    if (Supported(CpuPath::kAmx)) found.push_back(CpuPath::kAmx);
    return found;
  }();
  return paths;
}

std::vector<float> RandomFloats(std::mt19937& rng, int64_t count, float magnitude) {
  std::uniform_real_distribution<float> uniform(-magnitude, magnitude);
  std::vector<float> values(count);
  for (float& value : values) value = uniform(rng);
  return values;
}

void RequireWithin(std::span<const float> actual, std::span<const double> expected,
                   std::span<const double> bound, const std::string& what) {
  REQUIRE(actual.size() == expected.size());
  REQUIRE(actual.size() == bound.size());
  size_t worst = 0;
  double worst_ratio = -1;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::fabs(actual[i] - expected[i]);
    const double ratio = error == 0 ? 0 : error / bound[i];
    if (!(ratio <= worst_ratio)) {  // a NaN becomes and stays the worst
      worst = i;
      worst_ratio = ratio;
      if (std::isnan(ratio)) break;
    }
  }
  if (actual.empty()) return;
  INFO(what << ": worst at " << worst << ": " << actual[worst] << " for " << expected[worst]
            << ", bound " << bound[worst]);
  REQUIRE(worst_ratio <= 1);
}

void RequireSameBits(std::span<const float> actual, std::span<const float> expected,
                     const std::string& what) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(expected[i])) continue;
    FAIL(what << ": first difference at " << i << ": " << actual[i] << " for " << expected[i]);
  }
}

}  // namespace latentd
