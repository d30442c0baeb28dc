// int8 products without VNNI. vpmaddubsw would saturate its 16-bit sums, so that both sides widen
// to 16 bits and vpmaddwd adds their products, two to a lane, in 32: exact.
#include <immintrin.h>

#include "kernels/cpu/int8_tile.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

struct Madd256 {
  static constexpr int kRows = 1;
  static constexpr int kTokens = 3;
  static constexpr int64_t kQuadBytes = 8;
  struct Acc {  // rows 0 … 7 and 8 … 15
    __m256i low, high;
  };
  struct WOperand {  // of each row the numbers 0 and 2, and 1 and 3, in 16 bits
    __m256i low_even, low_odd, high_even, high_odd;
  };
  struct XOperand {  // the same of a token, in every lane
    __m256i even, odd;
  };
  static Acc Start(int32_t n) { return {_mm256_set1_epi32(n), _mm256_set1_epi32(n)}; }
  static WOperand LoadW(const std::byte* w) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32));
    const __m256i even = _mm256_set1_epi16(0xff);
    return {_mm256_and_si256(low, even), _mm256_srli_epi16(low, 8), _mm256_and_si256(high, even),
            _mm256_srli_epi16(high, 8)};
  }
  static XOperand LoadX(const std::byte* x) {
    int32_t pairs[2];
    std::memcpy(pairs, x, sizeof pairs);
    return {_mm256_set1_epi32(pairs[0]), _mm256_set1_epi32(pairs[1])};
  }
  static __m256i Dot(__m256i acc, __m256i even, __m256i odd, const XOperand& x) {
    return _mm256_add_epi32(
        acc, _mm256_add_epi32(_mm256_madd_epi16(even, x.even), _mm256_madd_epi16(odd, x.odd)));
  }
  static Acc Dot(const Acc& acc, const WOperand& w, const XOperand& x) {
    return {Dot(acc.low, w.low_even, w.low_odd, x), Dot(acc.high, w.high_even, w.high_odd, x)};
  }
  static void StoreQuad(const int8_t* q, std::byte* to) {
    const int16_t pairs[4] = {q[0], q[2], q[1], q[3]};
    std::memcpy(to, pairs, sizeof pairs);
  }
  static void AddGroup(__m256i acc, const std::byte* w_scales, float x_scale, float* sums) {
    const __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(reinterpret_cast<const float*>(w_scales)),
                                       _mm256_set1_ps(x_scale));
    _mm256_store_ps(sums, _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(acc), _mm256_load_ps(sums)));
  }
  static void AddGroup(const Acc& acc, const std::byte* w_scales, float x_scale, float* sums) {
    AddGroup(acc.low, w_scales, x_scale, sums);
    AddGroup(acc.high, w_scales + 32, x_scale, sums + 8);
  }
};

}  // namespace

Int8Kernels Avx2Int8() { return Int8KernelsFor<Madd256>(); }

}  // namespace latentd
