// The sve path: where it is taken, and its bf16 products to the bit against the arithmetic that
// kernels/cpu/sve.cc states.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/cpu/table.h"
#include "kernels/linear.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

constexpr double kSmallest = 0x1p-126;  // normal number

double Flushed(double x) { return std::fabs(x) < kSmallest ? std::copysign(0.0, x) : x; }

// a + b rounded to odd; a result below the smallest normal number is zero. What a sum in double
// leaves over is exact by Knuth's TwoSum.
float AddToOdd(float a_in, float b_in) {
  const double a = a_in, b = b_in, sum = a + b, b_part = sum - a;
  const double left = (a - (sum - b_part)) + (b - b_part);
  if (std::fabs(sum) < kSmallest) return static_cast<float>(Flushed(sum));
  auto cut = static_cast<float>(sum);
  const double over = (double{cut} - sum) - left;  // of what was cut: its sign is exact
  if (over == 0) return cut;
  const bool is_too_large = (over > 0) == (cut > 0);
  const uint32_t bits = std::bit_cast<uint32_t>(cut) - (is_too_large ? 1 : 0);
  return std::bit_cast<float>(bits | 1);
}

float Product(float x, float w) { return static_cast<float>(Flushed(Flushed(x) * Flushed(w))); }

float Stated(const float* x, const bf16* w, int64_t count) {
  float y = 0;
  for (int64_t k0 = 0; k0 < count; k0 += kDotBlock) {
    float sums[2] = {0, 0};
    const int64_t end = std::min(count, k0 + kDotBlock);
    for (int64_t k = k0; k < end; k += 2) {
      float pair = Product(RoundToBf16(x[k]), ToFloat(w[k]));
      if (k + 1 < end) {
        pair = AddToOdd(pair, Product(RoundToBf16(x[k + 1]), ToFloat(w[k + 1])));
      }
      float& sum = sums[k / 4 % 2];
      sum = AddToOdd(sum, pair);
    }
    const float block = sums[0] + sums[1];
    y = k0 == 0 ? block : y + block;
  }
  return y;
}

// Around one, or of magnitudes whose products end on either side of the smallest normal number.
std::vector<float> Values(std::mt19937& rng, int64_t count, bool is_tiny) {
  std::vector<float> values = RandomFloats(rng, count);
  if (!is_tiny) return values;
  std::uniform_int_distribution<int> exponent(-70, -56);
  for (float& value : values) value = std::ldexp(value, exponent(rng));
  for (int64_t i = 0; i < count; i += 7) values[static_cast<size_t>(i)] *= 0x1p-66f;  // denormal
  return values;
}

}  // namespace

TEST_CASE("sve: every output is the stated sum, whatever the rows and tokens", "[sve]") {
  if (!Supported(CpuPath::kSve)) return;
  const int64_t k = GENERATE(1, 2, 5, 16, 77, 2051);
  const bool is_tiny = GENERATE(false, true);
  constexpr int64_t kRows = 19, kTokens = 9;
  std::mt19937 rng(1);
  const std::vector<float> x = Values(rng, kTokens * k, is_tiny);
  const std::vector<float> w_values = Values(rng, kRows * k, is_tiny);
  std::vector<bf16> w(w_values.size());
  std::transform(w_values.begin(), w_values.end(), w.begin(), ToBf16);
  std::vector<float> stated;
  for (int64_t i = 0; i < kTokens * kRows; ++i) {
    stated.push_back(Stated(x.data() + i / kRows * k, w.data() + i % kRows * k, k));
  }
  for (int64_t tokens = 1; tokens <= kTokens; ++tokens) {
    std::vector<float> y(static_cast<size_t>(tokens * kRows));
    Linear({CpuPath::kSve, nullptr}, {.x = View(x, kTokens, k).Rows(0, tokens),
                                      .w = {w.data(), DType::kBF16, kRows, k, k},
                                      .y = View(y, tokens, kRows)});
    RequireSameBits(y, std::span(stated).first(y.size()),
                    "K " + std::to_string(k) + " tokens " + std::to_string(tokens));
  }
}

TEST_CASE("sve: what it has of its own, and neon's for the rest", "[sve]") {
  if (!Supported(CpuPath::kSve)) return;
  const CpuKernels &sve = *KernelsOf(CpuPath::kSve), &neon = *KernelsOf(CpuPath::kNeon);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto i = static_cast<size_t>(dtype);
    CHECK((sve.dot[i].run == neon.dot[i].run) == (dtype != DType::kBF16));
    CHECK(sve.transposed[i] == neon.transposed[i]);
  }
  CHECK(sve.int8.run != neon.int8.run);
  CHECK(sve.int4.run != neon.int4.run);
  for (const size_t format : {0, 1}) {
    CHECK(sve.attention[format].attend != neon.attention[format].attend);
  }
  CHECK(sve.silu_mul == neon.silu_mul);
}

// Run by name, on processors that the emulator makes (CMakeLists.txt).
TEST_CASE("sve is the best path of this processor", "[.][sve-here]") {
  CHECK(Supported(CpuPath::kSve));
  CHECK(BestCpuPath() == CpuPath::kSve);
}

TEST_CASE("sve is not a path of this processor", "[.][no-sve-here]") {
  CHECK_FALSE(Supported(CpuPath::kSve));
  CHECK(BestCpuPath() == CpuPath::kNeon);
}

}  // namespace latentd
