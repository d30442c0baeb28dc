// Pieces of the SVE path, for registers of 256 bits. Internal linkage, as dot_tile.h.
#pragma once

#include <arm_sve.h>

#include <cstdint>

static_assert(__ARM_FEATURE_SVE_BITS == 256, "lanes are counted at compile time");

namespace latentd {
namespace {

// Types of known size: arrays and structs may hold them.
typedef svfloat32_t F32x8 __attribute__((arm_sve_vector_bits(256)));
typedef svint32_t I32x8 __attribute__((arm_sve_vector_bits(256)));
typedef svuint32_t U32x8 __attribute__((arm_sve_vector_bits(256)));
typedef svuint16_t U16x16 __attribute__((arm_sve_vector_bits(256)));
typedef svbfloat16_t Bf16x16 __attribute__((arm_sve_vector_bits(256)));
typedef svint8_t I8x32 __attribute__((arm_sve_vector_bits(256)));
typedef svuint8_t U8x32 __attribute__((arm_sve_vector_bits(256)));

// One level of the fixed tree: [sums of a's neighbours | sums of b's].
inline F32x8 Fold(F32x8 a, F32x8 b) {
  return svadd_f32_x(svptrue_b32(), svuzp1_f32(a, b), svuzp2_f32(a, b));
}
// Lanes j and 4 + j are the sum of the j-th accumulator.
inline F32x8 Sum4(F32x8 a, F32x8 b, F32x8 c, F32x8 d) {
  const F32x8 sums = Fold(Fold(a, b), Fold(c, d));
  return Fold(sums, sums);
}
inline float First(F32x8 x) { return svlasta_f32(svpfalse_b(), x); }

// Rounded to bf16, to nearest even, in the low half of every lane; a NaN stays a quiet NaN. As
// ToBf16().
inline Bf16x16 RoundLanes(F32x8 x) { return svcvt_bf16_f32_x(svptrue_b32(), x); }
// The same of sixteen, side by side.
inline U16x16 RoundBf16(F32x8 low, F32x8 high) {
  return svuzp1_u16(svreinterpret_u16_bf16(RoundLanes(low)),
                    svreinterpret_u16_bf16(RoundLanes(high)));
}
inline U16x16 RoundBf16(const float* x) {
  return RoundBf16(svld1_f32(svptrue_b32(), x), svld1_f32(svptrue_b32(), x + 8));
}

// bf16 in the low halves of lanes as fp32.
inline F32x8 WidenLanes(U32x8 x) {
  return svreinterpret_f32_u32(svlsl_n_u32_x(svptrue_b32(), x, 16));
}
// Eight bf16 as fp32.
inline F32x8 WidenBf16(const uint16_t* from) {
  return WidenLanes(svld1uh_u32(svptrue_b32(), from));
}

// e^x for x <= 0 (and a little above) as the Exp of avx512_common.h: 0 below −87.3, NaN stays NaN.
inline F32x8 Exp(F32x8 x) {
  const svbool_t all = svptrue_b32();
  const F32x8 n = svrintn_f32_x(all, svmul_n_f32_x(all, x, 0x1.715476p+0f));
  F32x8 f = svmls_n_f32_x(all, x, n, 0x1.62e400p-1f);
  f = svmls_n_f32_x(all, f, n, 0x1.7f7d1cp-20f);
  F32x8 e = svdup_n_f32(1.0f / 720);
  e = svmad_n_f32_x(all, e, f, 1.0f / 120);
  e = svmad_n_f32_x(all, e, f, 1.0f / 24);
  e = svmad_n_f32_x(all, e, f, 1.0f / 6);
  e = svmad_n_f32_x(all, e, f, 0.5f);
  e = svmad_n_f32_x(all, e, f, 1.0f);
  e = svmad_n_f32_x(all, e, f, 1.0f);
  e = svscale_f32_x(all, e, svcvt_s32_f32_x(all, n));
  return svsel_f32(svcmplt_n_f32(all, x, -87.3f), svdup_n_f32(0), e);
}

// The vector operations of attention_tile.h.
struct OpsSve {
  using Vec = F32x8;
  static constexpr int kLanes = 8;
  static Vec Load(const float* from) { return svld1_f32(svptrue_b32(), from); }
  static void Store(float* to, Vec x) { svst1_f32(svptrue_b32(), to, x); }
  static Vec Set1(float x) { return svdup_n_f32(x); }
  static float First(Vec x) { return latentd::First(x); }
  static Vec Add(Vec a, Vec b) { return svadd_f32_x(svptrue_b32(), a, b); }
  static Vec Sub(Vec a, Vec b) { return svsub_f32_x(svptrue_b32(), a, b); }
  static Vec Mul(Vec a, Vec b) { return svmul_f32_x(svptrue_b32(), a, b); }
  static Vec Div(Vec a, Vec b) { return svdiv_f32_x(svptrue_b32(), a, b); }
  static Vec Max(Vec a, Vec b) { return svmax_f32_x(svptrue_b32(), a, b); }
  static Vec MulAdd(Vec acc, Vec a, Vec b) { return svmla_f32_x(svptrue_b32(), acc, a, b); }
  static Vec Exp(Vec x) { return latentd::Exp(x); }
  static float SumLanes(Vec x) { return latentd::First(Sum4(x, x, x, x)); }
  static float MaxLanes(Vec x) { return svmaxv_f32(svptrue_b32(), x); }
  static Vec Widen(const int8_t* from) {
    return svcvt_f32_s32_x(svptrue_b32(), svld1sb_s32(svptrue_b32(), from));
  }
  static Vec RoundP(Vec p) { return WidenLanes(svreinterpret_u32_bf16(RoundLanes(p))); }
  static void SumTile(const Vec (&acc)[4][4], float* const (&s)[4]) {
    const svbool_t four = svptrue_pat_b32(SV_VL4);
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) {
      svst1_f32(four, s[h], Sum4(acc[h][0], acc[h][1], acc[h][2], acc[h][3]));
    }
  }
};

}  // namespace
}  // namespace latentd
