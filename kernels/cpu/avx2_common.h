// Pieces of the AVX2 path. Internal linkage, as dot_tile.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace latentd {
namespace {

// Lane j is the sum of the j-th accumulator by a fixed tree: lanes 4 apart, then 2, then 1.
inline __m128 Sum4(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 ab =
      _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  const __m256 cd =
      _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
  const __m256 by2 =
      _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  const __m256 by1 =
      _mm256_add_ps(_mm256_shuffle_ps(by2, by2, 0x88), _mm256_shuffle_ps(by2, by2, 0xdd));
  return _mm_unpacklo_ps(_mm256_castps256_ps128(by1), _mm256_extractf128_ps(by1, 1));
}

// The value after rounding to bf16, to nearest even; a NaN stays a quiet NaN. As RoundToBf16().
inline __m256 RoundedToBf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i chosen = _mm256_blendv_epi8(rounded, quiet, is_nan);
  return _mm256_castsi256_ps(_mm256_and_si256(chosen, _mm256_set1_epi32(-0x10000)));
}

// Eight bf16 as fp32.
inline __m256 WidenBf16(const uint16_t* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

// Eight e4m3 as fp32, exactly. Shifted into a half, which has one bit of exponent more and a bias
// of 15 instead of 7, one is its value / 2^8, subnormals too; the NaN becomes a half's.
inline __m256 WidenE4M3(const uint8_t* from) {
  const __m128i bytes = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  const __m128i magnitude = _mm_and_si128(bytes, _mm_set1_epi16(0x7f));
  const __m128i sign = _mm_slli_epi16(_mm_and_si128(bytes, _mm_set1_epi16(0x80)), 8);
  const __m128i is_nan = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7f));
  const __m128i half = _mm_or_si128(_mm_or_si128(sign, _mm_slli_epi16(magnitude, 7)),
                                    _mm_and_si128(is_nan, _mm_set1_epi16(0x7e00)));
  return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
}

// Lanes j < count, as masked loads want them.
inline __m256i LanesBelow(int64_t count) {
  const int limit = count < 8 ? static_cast<int>(count) : 8;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(limit), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
}

// e^x = 2^n · e^f, n = round(x / ln 2), |f| <= ln 2 / 2, e^f by a polynomial of degree 6. Relative
// error below 3e-7; 0 below −87.3 (the smallest normal number), infinite above 88.73, NaN stays
// NaN.
inline __m256 Exp(__m256 x) {
  const __m256 high = _mm256_set1_ps(88.73f);
  const __m256 clamped = _mm256_min_ps(high, x);  // a NaN in x is returned
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(clamped, _mm256_set1_ps(0x1.715476p+0f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 f = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e400p-1f), clamped);
  f = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), f);
  __m256 e = _mm256_set1_ps(1.0f / 720);
  e = _mm256_fmadd_ps(e, f, _mm256_set1_ps(1.0f / 120));
  e = _mm256_fmadd_ps(e, f, _mm256_set1_ps(1.0f / 24));
  e = _mm256_fmadd_ps(e, f, _mm256_set1_ps(1.0f / 6));
  e = _mm256_fmadd_ps(e, f, _mm256_set1_ps(0.5f));
  e = _mm256_fmadd_ps(e, f, _mm256_set1_ps(1.0f));
  e = _mm256_fmadd_ps(e, f, _mm256_set1_ps(1.0f));
  // 2^n in two factors, since n = 128 has no exponent of its own.
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i rest = _mm256_sub_epi32(whole, half);
  const __m256i bias = _mm256_set1_epi32(127);
  e = _mm256_mul_ps(e, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
  e = _mm256_mul_ps(e, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
  const __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.3f), _CMP_LT_OQ);
  return _mm256_andnot_ps(tiny, e);
}

// The vector operations of attention_tile.h.
struct Ops256 {
  using Vec = __m256;
  static constexpr int kLanes = 8;
  static Vec Load(const float* from) { return _mm256_loadu_ps(from); }
  static void Store(float* to, Vec x) { _mm256_storeu_ps(to, x); }
  static Vec Set1(float x) { return _mm256_set1_ps(x); }
  static float First(Vec x) { return _mm256_cvtss_f32(x); }
  static Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
  static Vec Sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
  static Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static Vec Div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
  static Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
  static Vec MulAdd(Vec acc, Vec a, Vec b) { return _mm256_fmadd_ps(a, b, acc); }
  static Vec Exp(Vec x) { return latentd::Exp(x); }
  static float SumLanes(Vec x) { return _mm_cvtss_f32(Sum4(x, x, x, x)); }
  static float MaxLanes(Vec x) {
    const __m128 by4 = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 by2 = _mm_max_ps(by4, _mm_movehl_ps(by4, by4));
    return _mm_cvtss_f32(_mm_max_ss(by2, _mm_shuffle_ps(by2, by2, 1)));
  }
  static Vec Widen(const uint16_t* from) { return WidenBf16(from); }
  static Vec Widen(const int8_t* from) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
  static Vec RoundP(Vec p) { return RoundedToBf16(p); }
  static void SumTile(const Vec (&acc)[2][4], float* const (&s)[2]) {
    for (int h = 0; h < 2; ++h) {
      _mm_storeu_ps(s[h], Sum4(acc[h][0], acc[h][1], acc[h][2], acc[h][3]));
    }
  }
};

}  // namespace
}  // namespace latentd
