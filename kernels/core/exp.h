// exp for x <= 0, fp32, with the same bits on every machine: the C library's depends on its version
// and on the CPU it finds.
#pragma once

#include <bit>
#include <cstdint>

namespace latentd {

// exp(x), relative error under 2⁻²²; 0 below −87, where fp32 leaves the normal range. exp(0) is
// exactly 1. REQUIRES: x <= 0, not NaN; −inf is fine.
//
// x = n·ln 2 + r with |r| <= ln 2 / 2 and n·ln 2 subtracted in two parts, the first exact. exp(r)
// by its Taylor series up to r⁷: what is left off is at most 0.3466⁸ / 8! = 5.2e-9, a tenth of an
// fp32 rounding. Every operation rounds once (no contraction), so scalar and vector code agree.
constexpr float ExpNonPositive(float x) {
  const float clamped = x > -87.0F ? x : -87.0F;
  const auto n = static_cast<int32_t>(clamped * 1.44269504F - 0.5F);
  const auto n_real = static_cast<float>(n);
  const float r = (clamped - n_real * 0.693359375F) + n_real * 2.12194440e-4F;
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const float scale = std::bit_cast<float>((n + 127) << 23);
  return x > -87.0F ? p * scale : 0.0F;
}

}  // namespace latentd
