// Pieces that both AVX-512 paths use. Internal linkage, as dot_tile.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace latentd {
namespace {

// The fixed tree of a 16-lane accumulator: lanes 8 apart, then 4, 2 and 1. Sum16 folds sixteen
// accumulators by the same pairs, three instructions for two registers at every level.

// [a folded by 8 | b folded by 8]
inline __m512 Fold8(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}
// From Fold8 pairs (a, b) and (c, d): quarters a, b, c, d, each folded by 4.
inline __m512 Fold4(__m512 ab, __m512 cd) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}
// Within every quarter: [p, p, q, q] folded by 2.
inline __m512 Fold2(__m512 p, __m512 q) {
  return _mm512_add_ps(_mm512_shuffle_ps(p, q, 0x44), _mm512_shuffle_ps(p, q, 0xee));
}
// Within every quarter: [u's p, u's q, v's p, v's q] folded by 1.
inline __m512 Fold1(__m512 u, __m512 v) {
  return _mm512_add_ps(_mm512_shuffle_ps(u, v, 0x88), _mm512_shuffle_ps(u, v, 0xdd));
}

// Lane j is the sum of acc[j].
inline __m256 Sum8(const __m512 (&acc)[8]) {
  const __m512 p = Fold4(Fold8(acc[0], acc[1]), Fold8(acc[2], acc[3]));
  const __m512 q = Fold4(Fold8(acc[4], acc[5]), Fold8(acc[6], acc[7]));
  const __m512 both = Fold2(p, q);
  const __m512 sums = Fold1(both, both);  // quarter i: sums of acc[i], acc[4 + i], again both
  const __m512i order = _mm512_castsi256_si512(_mm256_set_epi32(13, 9, 5, 1, 12, 8, 4, 0));
  return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, sums));
}

// Lane j is the sum of acc[j].
inline __m128 Sum4(const __m512 (&acc)[4]) {
  const __m512 by4 = Fold4(Fold8(acc[0], acc[1]), Fold8(acc[2], acc[3]));
  const __m512 by2 = Fold2(by4, by4);
  const __m512 sums = Fold1(by2, by2);  // quarter i: the sum of acc[i], four times
  const __m512i order = _mm512_castsi128_si512(_mm_set_epi32(12, 8, 4, 0));
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(order, sums));
}

// Quarter i of the result: sums of acc[0][i], acc[1][i], acc[2][i], acc[3][i].
inline __m512 Sum4x4(const __m512 (&acc)[4][4]) {
  __m512 folded[4];
  for (int j = 0; j < 4; ++j) {
    folded[j] = Fold4(Fold8(acc[j][0], acc[j][1]), Fold8(acc[j][2], acc[j][3]));
  }
  return Fold1(Fold2(folded[0], folded[1]), Fold2(folded[2], folded[3]));
}

inline float Sum(__m512 acc) {
  const __m512 by8 = Fold8(acc, acc);
  const __m512 by4 = Fold4(by8, by8);
  const __m512 by2 = Fold2(by4, by4);
  return _mm512_cvtss_f32(Fold1(by2, by2));
}

// Round to nearest even; a NaN stays a quiet NaN. As ToBf16().
inline __m256i RoundBf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  const __m512i chosen = _mm512_mask_mov_epi32(rounded, is_nan, quiet);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16));
}

// The low sixteen bf16 of a register as fp32.
inline __m512 WidenBf16(__m512i x) {
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(x)), 16));
}

// Sixteen e4m3 as fp32, exactly; how: the eight of avx2_common.h.
inline __m512 WidenE4M3(const uint8_t* from) {
  const __m256i bytes =
      _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  const __m256i magnitude = _mm256_and_si256(bytes, _mm256_set1_epi16(0x7f));
  const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(bytes, _mm256_set1_epi16(0x80)), 8);
  const __m256i is_nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
  const __m256i half = _mm256_or_si256(_mm256_or_si256(sign, _mm256_slli_epi16(magnitude, 7)),
                                       _mm256_and_si256(is_nan, _mm256_set1_epi16(0x7e00)));
  return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0f));
}

// e^x for x <= 0 (and a little above): e^x = 2^n · e^f, n = round(x / ln 2), |f| <= ln 2 / 2, e^f
// by a polynomial of degree 6. Relative error below 3e-7; 0 below −87.3 (the smallest normal
// number), NaN stays NaN.
inline __m512 Exp(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 f = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e400p-1f), x);
  f = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), f);
  __m512 e = _mm512_set1_ps(1.0f / 720);
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(1.0f / 120));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(1.0f / 24));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(1.0f / 6));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(0.5f));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(1.0f));
  e = _mm512_fmadd_ps(e, f, _mm512_set1_ps(1.0f));
  const __mmask16 tiny = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.3f), _CMP_LT_OQ);
  return _mm512_mask_mov_ps(_mm512_scalef_ps(e, n), tiny, _mm512_setzero_ps());
}

// The vector operations of attention_tile.h.
struct Ops512 {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static Vec Load(const float* from) { return _mm512_loadu_ps(from); }
  static void Store(float* to, Vec x) { _mm512_storeu_ps(to, x); }
  static Vec Set1(float x) { return _mm512_set1_ps(x); }
  static float First(Vec x) { return _mm512_cvtss_f32(x); }
  static Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
  static Vec Sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
  static Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static Vec Div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
  static Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
  static Vec MulAdd(Vec acc, Vec a, Vec b) { return _mm512_fmadd_ps(a, b, acc); }
  static Vec Exp(Vec x) { return latentd::Exp(x); }
  static float SumLanes(Vec x) { return Sum(x); }
  static float MaxLanes(Vec x) { return _mm512_reduce_max_ps(x); }
  static Vec Widen(const uint16_t* from) {
    return WidenBf16(
        _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
  }
  static Vec Widen(const int8_t* from) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }
  static Vec RoundP(Vec p) { return WidenBf16(_mm512_castsi256_si512(RoundBf16(p))); }
  static void SumTile(const Vec (&acc)[4][4], float* const (&s)[4]) {
    const __m512 sums = Sum4x4(acc);
    // Quarter t holds token t of the four heads.
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __m512 by_head = _mm512_permutexvar_ps(order, sums);
    _mm_storeu_ps(s[0], _mm512_castps512_ps128(by_head));
    _mm_storeu_ps(s[1], _mm512_extractf32x4_ps(by_head, 1));
    _mm_storeu_ps(s[2], _mm512_extractf32x4_ps(by_head, 2));
    _mm_storeu_ps(s[3], _mm512_extractf32x4_ps(by_head, 3));
  }
};

}  // namespace
}  // namespace latentd
