// Runs of numbers as int8: groups of activations or weights (kernels/quantise.h), latents
// (kernels/latent_write.h). Plain loops for the compiler to
// vectorise with whatever its file may use; every operation is rounded as IEEE 754 says and none
// are fused, so that all files make the same bits. Internal linkage, as dot_tile.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

namespace latentd {
namespace {

struct QuantisedGroup {
  float scale = 0;
  int32_t sum = 0;  // Σ q
};

constexpr float kTiniestGroup = 0x1p-100f;

// The whole number nearest to x, of two the even one. REQUIRES: |x| < 2^22.
inline int32_t RoundToWhole(float x) {
  constexpr float kShift = 0x1.8p23f;  // the sum has whole numbers in its low bits
  return std::bit_cast<int32_t>(x + kShift) - std::bit_cast<int32_t>(kShift);
}

// `count` elements of x to numbers from −127 to 127.
inline QuantisedGroup QuantiseToInt8(const float* x, int64_t count, int8_t* q) {
  // As bits, magnitudes are ordered as their values are, and NaN stands above infinity.
  int32_t bits = 0;
  for (int64_t i = 0; i < count; ++i) {
    bits = std::max(bits, std::bit_cast<int32_t>(x[i]) & 0x7fffffff);
  }
  const float largest = std::bit_cast<float>(bits);
  const bool is_finite = largest < std::numeric_limits<float>::infinity();
  if (!is_finite || largest < kTiniestGroup) {
    std::fill_n(q, count, int8_t{0});
    return {is_finite ? 0 : std::numeric_limits<float>::quiet_NaN(), 0};
  }
  const float inverse = 127 / largest;
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t n = RoundToWhole(x[i] * inverse);
    q[i] = static_cast<int8_t>(n);
    sum += n;
  }
  return {largest / 127, sum};
}

}  // namespace
}  // namespace latentd
