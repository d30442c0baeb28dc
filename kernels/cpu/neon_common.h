// Pieces of the NEON path. Internal linkage, as dot_tile.h.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace latentd {
namespace {

// Lane j is the sum of the j-th accumulator by a fixed tree: neighbours, then the two halves.
inline float32x4_t Sum4(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) {
  return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
}
inline float Sum(float32x4_t x) { return vgetq_lane_f32(Sum4(x, x, x, x), 0); }

// The value after rounding to bf16, to nearest even; a NaN stays a quiet NaN. As RoundToBf16().
inline float32x4_t RoundedToBf16(float32x4_t x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  const uint32x4_t chosen = vbslq_u32(vceqq_f32(x, x), rounded, quiet);
  return vreinterpretq_f32_u32(vandq_u32(chosen, vdupq_n_u32(0xffff0000)));
}

// Four bf16 as fp32.
inline float32x4_t WidenBf16(const uint16_t* from) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(from), 16));
}

// Four halves as fp32.
inline float32x4_t WidenF16(uint16x4_t halves) {
  return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}

// Four e4m3 as fp32, exactly; how: the eight of avx2_common.h.
inline float32x4_t WidenE4M3(const uint8_t* from) {
  uint32_t word;
  std::memcpy(&word, from, sizeof word);
  const uint16x4_t bytes = vget_low_u16(vmovl_u8(vcreate_u8(word)));
  const uint16x4_t magnitude = vand_u16(bytes, vdup_n_u16(0x7f));
  const uint16x4_t sign = vshl_n_u16(vand_u16(bytes, vdup_n_u16(0x80)), 8);
  const uint16x4_t is_nan = vceq_u16(magnitude, vdup_n_u16(0x7f));
  const uint16x4_t half =
      vorr_u16(vorr_u16(sign, vshl_n_u16(magnitude, 7)), vand_u16(is_nan, vdup_n_u16(0x7e00)));
  return vmulq_n_f32(WidenF16(half), 256.0f);
}

// Four 4-bit numbers, the low half of a byte first; value + 8.
inline float32x4_t WidenInt4(const uint8_t* from) {
  uint16_t word;
  std::memcpy(&word, from, sizeof word);
  constexpr int32_t kShifts[4] = {0, -4, -8, -12};  // left by a negative number
  const uint32x4_t halves =
      vandq_u32(vshlq_u32(vdupq_n_u32(word), vld1q_s32(kShifts)), vdupq_n_u32(15));
  return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(halves), vdupq_n_s32(8)));
}

// e^x as the Exp of avx2_common.h: 0 below −87.3, infinite above 88.73, NaN stays NaN.
inline float32x4_t Exp(float32x4_t x) {
  const float32x4_t clamped = vminq_f32(x, vdupq_n_f32(88.73f));  // a NaN is returned
  const float32x4_t n = vrndnq_f32(vmulq_n_f32(clamped, 0x1.715476p+0f));
  float32x4_t f = vfmsq_f32(clamped, n, vdupq_n_f32(0x1.62e400p-1f));
  f = vfmsq_f32(f, n, vdupq_n_f32(0x1.7f7d1cp-20f));
  float32x4_t e = vdupq_n_f32(1.0f / 720);
  e = vfmaq_f32(vdupq_n_f32(1.0f / 120), e, f);
  e = vfmaq_f32(vdupq_n_f32(1.0f / 24), e, f);
  e = vfmaq_f32(vdupq_n_f32(1.0f / 6), e, f);
  e = vfmaq_f32(vdupq_n_f32(0.5f), e, f);
  e = vfmaq_f32(vdupq_n_f32(1.0f), e, f);
  e = vfmaq_f32(vdupq_n_f32(1.0f), e, f);
  // 2^n in two factors, since n = 128 has no exponent of its own.
  const int32x4_t whole = vcvtq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(whole, 1);
  const int32x4_t rest = vsubq_s32(whole, half);
  const int32x4_t bias = vdupq_n_s32(127);
  e = vmulq_f32(e, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
  e = vmulq_f32(e, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
  const uint32x4_t tiny = vcltq_f32(x, vdupq_n_f32(-87.3f));
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(e), tiny));
}

// The vector operations of attention_tile.h.
struct Ops128 {
  using Vec = float32x4_t;
  static constexpr int kLanes = 4;
  static Vec Load(const float* from) { return vld1q_f32(from); }
  static void Store(float* to, Vec x) { vst1q_f32(to, x); }
  static Vec Set1(float x) { return vdupq_n_f32(x); }
  static float First(Vec x) { return vgetq_lane_f32(x, 0); }
  static Vec Add(Vec a, Vec b) { return vaddq_f32(a, b); }
  static Vec Sub(Vec a, Vec b) { return vsubq_f32(a, b); }
  static Vec Mul(Vec a, Vec b) { return vmulq_f32(a, b); }
  static Vec Div(Vec a, Vec b) { return vdivq_f32(a, b); }
  static Vec Max(Vec a, Vec b) { return vmaxq_f32(a, b); }
  static Vec MulAdd(Vec acc, Vec a, Vec b) { return vfmaq_f32(acc, a, b); }
  static Vec Exp(Vec x) { return latentd::Exp(x); }
  static float SumLanes(Vec x) { return Sum(x); }
  static float MaxLanes(Vec x) { return vmaxvq_f32(x); }
  static Vec Widen(const uint16_t* from) { return WidenBf16(from); }
  static Vec Widen(const int8_t* from) {
    uint32_t word;
    std::memcpy(&word, from, sizeof word);
    const int16x4_t halves = vget_low_s16(vmovl_s8(vcreate_s8(word)));
    return vcvtq_f32_s32(vmovl_s16(halves));
  }
  static Vec RoundP(Vec p) { return RoundedToBf16(p); }
  static void SumTile(const Vec (&acc)[4][4], float* const (&s)[4]) {
    for (int h = 0; h < 4; ++h) {
      vst1q_f32(s[h], Sum4(acc[h][0], acc[h][1], acc[h][2], acc[h][3]));
    }
  }
};

}  // namespace
}  // namespace latentd
