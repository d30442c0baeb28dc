// A group of int8 activations or weights (kernels/quantise.h). Plain loops for the compiler to
// vectorise with whatever its file may use; every operation is rounded as IEEE 754 says and none
// are fused, so that all files make the same bits. Internal linkage, as dot_tile.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/quantise.h"

namespace latentd {
namespace {

struct QuantisedGroup {
  float scale = 0;
  int32_t sum = 0;  // Σ q
};

// x and q have kInt8Group elements.
inline QuantisedGroup QuantiseWholeGroup(const float* x, int8_t* q) {
  // As bits, magnitudes are ordered as their values are, and NaN stands above infinity.
  int32_t bits = 0;
  for (int64_t i = 0; i < kInt8Group; ++i) {
    bits = std::max(bits, std::bit_cast<int32_t>(x[i]) & 0x7fffffff);
  }
  const float largest = std::bit_cast<float>(bits);
  const bool is_finite = largest < std::numeric_limits<float>::infinity();
  if (!is_finite || largest < 0x1p-100f) {
    std::fill_n(q, kInt8Group, int8_t{0});
    return {is_finite ? 0 : std::numeric_limits<float>::quiet_NaN(), 0};
  }
  // 1.5 · 2^23 + v is the whole number nearest to v in the low bits of a float.
  constexpr float kShift = 0x1.8p23f;
  const float inverse = 127 / largest;
  int32_t sum = 0;
  for (int64_t i = 0; i < kInt8Group; ++i) {
    const float scaled = x[i] * inverse;
    const int32_t n = std::bit_cast<int32_t>(scaled + kShift) - std::bit_cast<int32_t>(kShift);
    q[i] = static_cast<int8_t>(n);
    sum += n;
  }
  return {largest / 127, sum};
}

}  // namespace
}  // namespace latentd
