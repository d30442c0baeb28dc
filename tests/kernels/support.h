// What the kernel tests share: the paths to test, inputs, and comparison with a derived bound.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/context.h"
#include "kernels/core/dtype.h"
#include "kernels/core/tensor.h"

namespace latentd {

// Every path whose instructions run here: those that CPUID reports, and avx512-bf16 also where only
// the execution of the instruction shows it (some hypervisors hide the bit).
std::vector<CpuPath> RunnablePaths();

// Half the spacing above 1: the relative error of one fp32 operation.
constexpr double kHalfUlp = 0x1p-24;
// The same of rounding to bf16, which has 8 significant bits.
constexpr double kHalfUlpBf16 = 0x1p-8;

// Uniform in [−magnitude, magnitude).
std::vector<float> RandomFloats(std::mt19937& rng, int64_t count, float magnitude = 1);

inline MatrixView<float> View(std::vector<float>& values, int64_t rows, int64_t cols) {
  return {values.data(), rows, cols, cols};
}
inline MatrixView<const float> View(const std::vector<float>& values, int64_t rows, int64_t cols) {
  return {values.data(), rows, cols, cols};
}

// REQUIREs |actual[i] − expected[i]| <= bound[i] for all i (a NaN fails); a failure names the
// coordinate that is worst in units of its bound, with both values.
void RequireWithin(std::span<const float> actual, std::span<const double> expected,
                   std::span<const double> bound, const std::string& what);
// REQUIREs equal bits, naming the first coordinate that differs.
void RequireSameBits(std::span<const float> actual, std::span<const float> expected,
                     const std::string& what);

}  // namespace latentd
