// Conversions, paths and scratch memory.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/core/context.h"
#include "kernels/core/dtype.h"
#include "kernels/core/scratch.h"
#include "kernels/linear.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

bool IsNan(float value) { return value != value; }

// The value of a half by its definition: (−1)^s · 2^(e−25) · (1024 + m), subnormals 2^−24 · m.
double HalfValue(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) {
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
  }
  return exponent == 0 ? sign * std::ldexp(mantissa, -24)
                       : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

// Floats around every bf16 value: the value, the midpoint to the next one, and both neighbours of
// each.
std::vector<float> Boundaries() {
  std::vector<float> values;
  for (uint32_t high = 0; high < 0x10000; ++high) {
    for (const uint32_t low : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      values.push_back(std::bit_cast<float>(high << 16 | low));
    }
  }
  return values;
}

// The nearest bf16, of two equally near the one with an even last bit, by comparing distances.
float NearestBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const float down = std::bit_cast<float>(bits & 0xffff0000u);
  const float up = std::bit_cast<float>((bits & 0xffff0000u) + 0x10000u);
  if (down == value || std::isinf(value)) return down;
  // Past the largest finite bf16 the next step would be 2^128.
  const double up_value = std::isinf(up) ? std::copysign(0x1p128, value) : up;
  const double to_down = std::fabs(static_cast<double>(value) - down);
  const double to_up = std::fabs(up_value - value);
  if (to_down == to_up) return (bits & 0x10000u) == 0 ? down : up;
  return to_down < to_up ? down : up;
}

TEST_CASE("every half converts to its value") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double expected = HalfValue(static_cast<uint16_t>(bits));
    const float actual = ToFloat(f16{static_cast<uint16_t>(bits)});
    if (IsNan(actual) && std::isnan(expected)) continue;
    if (actual != expected || std::signbit(actual) != std::signbit(expected)) {
      FAIL("half " << bits << " became " << actual << ", not " << expected);
    }
  }
}

TEST_CASE("every bf16 survives the way through fp32") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const bf16 value{static_cast<uint16_t>(bits)};
    const bf16 back = ToBf16(ToFloat(value));
    const bool same = IsNan(ToFloat(value))
                          ? (back.bits & ~0x40) == (bits & ~0x40u) && IsNan(ToFloat(back))
                          : back == value;
    if (!same) FAIL("bf16 " << bits << " came back as " << back.bits);
  }
}

TEST_CASE("fp32 rounds to the nearest bf16, ties to even") {
  for (const float value : Boundaries()) {
    const float actual = RoundToBf16(value);
    if (IsNan(value)
            ? IsNan(actual)
            : std::bit_cast<uint32_t>(actual) == std::bit_cast<uint32_t>(NearestBf16(value))) {
      continue;
    }
    FAIL(value << " became " << actual << ", not " << NearestBf16(value));
  }
}

// A product with the weight 1 shows what the vector paths' own rounding does.
TEST_CASE("every path rounds activations as ToBf16 does") {
  const std::vector<float> values = Boundaries();
  const auto count = static_cast<int64_t>(values.size());
  const bf16 one = ToBf16(1);
  for (const CpuPath path : RunnablePaths()) {
    std::vector<float> rounded(values.size());
    Linear({path, nullptr}, {.x = View(values, count, 1),
                             .w = {&one, DType::kBF16, 1, 1, 1},
                             .y = View(rounded, count, 1)});
    for (size_t i = 0; i < values.size(); ++i) {
      const float expected = NearestBf16(values[i]);
      // vdpbf16ps, AMX and bfmmla take denormals as zero.
      const bool flushed =
          path >= CpuPath::kAvx512Bf16 && path != CpuPath::kNeon && std::fabs(expected) < 0x1p-126f;
      if (IsNan(values[i]) ? IsNan(rounded[i]) : rounded[i] == (flushed ? 0 : expected)) continue;
      FAIL(Name(path) << ": " << values[i] << " became " << rounded[i] << ", not " << expected);
    }
  }
}

TEST_CASE("paths have names that parse back") {
  for (const char* name : {"scalar", "avx2", "avx512", "avx512-bf16", "amx", "neon", "sve"}) {
    const std::optional<CpuPath> path = ParseCpuPath(name);
    REQUIRE(path.has_value());
    CHECK(Name(*path) == name);
  }
  CHECK_FALSE(ParseCpuPath("avx").has_value());
  CHECK_FALSE(ParseCpuPath("").has_value());
  CHECK(Supported(CpuPath::kScalar));
  CHECK(Supported(BestCpuPath()));
}

TEST_CASE("scratch memory is aligned, grows, and is kept") {
  Scratch scratch;
  std::byte* small = scratch.Get(100);
  CHECK(reinterpret_cast<uintptr_t>(small) % 64 == 0);
  CHECK(scratch.Get(50) == small);
  float* large = scratch.GetArray<float>(100000);
  CHECK(reinterpret_cast<uintptr_t>(large) % 64 == 0);
  large[99999] = 1;
  CHECK(reinterpret_cast<float*>(scratch.Get(1)) == large);
}

}  // namespace
}  // namespace latentd
