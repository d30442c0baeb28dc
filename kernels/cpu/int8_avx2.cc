// Products of int8 and int4 weights without VNNI. vpmaddubsw adds two products in 16 bits and
// saturates. int8 weights would reach that, so that both sides widen to 16 bits and vpmaddwd adds
// their products, two to a lane, in 32: exact. With int4 weights a whole group stays below it.
#include <immintrin.h>

#include "kernels/cpu/avx2_common.h"
#include "kernels/cpu/int8_tile.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

// Eight rows: sums += scales of the weights and the token · acc.
inline void AddScaled(__m256i acc, __m256 w_scales, float x_scale, float* sums) {
  const __m256 scale = _mm256_mul_ps(w_scales, _mm256_set1_ps(x_scale));
  _mm256_store_ps(sums, _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(acc), _mm256_load_ps(sums)));
}

struct Int8Madd256 {
  static constexpr BlockFormat kFormat = kInt8Format;
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
  static WOperand LoadW(const std::byte* w, int) {
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
  static void AddGroup(const Acc& acc, const std::byte* w_scales, float x_scale, float* sums) {
    AddScaled(acc.low, _mm256_loadu_ps(reinterpret_cast<const float*>(w_scales)), x_scale, sums);
    AddScaled(acc.high, _mm256_loadu_ps(reinterpret_cast<const float*>(w_scales + 32)), x_scale,
              sums + 8);
  }
};

struct Int4Maddubs256 {
  static constexpr BlockFormat kFormat = kInt4Format;
  static_assert(kFormat.group / 2 * 15 * 127 <= 32767, "a lane holds half a row's products");
  static constexpr int kRows = 1;
  static constexpr int kTokens = 4;
  static constexpr int64_t kQuadBytes = 4;
  struct Acc {  // rows 0 … 7 and 8 … 15 in 16 bits, two lanes a row; where they begin
    __m256i low, high;
    int32_t start;
  };
  struct WOperand {
    __m256i low, high;
  };
  using XOperand = __m256i;
  static Acc Start(int32_t n) { return {_mm256_setzero_si256(), _mm256_setzero_si256(), n}; }
  static __m256i LoadW8(const std::byte* w, int half) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    return _mm256_and_si256(half == 0 ? pairs : _mm256_srli_epi16(pairs, 4), _mm256_set1_epi8(15));
  }
  static WOperand LoadW(const std::byte* w, int half) {
    return {LoadW8(w, half), LoadW8(w + 32, half)};
  }
  static __m256i LoadX(const std::byte* x) {
    int32_t quad;
    std::memcpy(&quad, x, sizeof quad);
    return _mm256_set1_epi32(quad);
  }
  static Acc Dot(const Acc& acc, const WOperand& w, __m256i x) {
    return {_mm256_add_epi16(acc.low, _mm256_maddubs_epi16(w.low, x)),
            _mm256_add_epi16(acc.high, _mm256_maddubs_epi16(w.high, x)), acc.start};
  }
  static void StoreQuad(const int8_t* q, std::byte* to) { std::memcpy(to, q, 4); }
  static void AddEight(__m256i acc, int32_t start, const std::byte* w_scales, float x_scale,
                       float* sums) {
    const __m256i products = _mm256_madd_epi16(acc, _mm256_set1_epi16(1));
    AddScaled(_mm256_add_epi32(products, _mm256_set1_epi32(start)),
              WidenBf16(reinterpret_cast<const uint16_t*>(w_scales)), x_scale, sums);
  }
  static void AddGroup(const Acc& acc, const std::byte* w_scales, float x_scale, float* sums) {
    AddEight(acc.low, acc.start, w_scales, x_scale, sums);
    AddEight(acc.high, acc.start, w_scales + 16, x_scale, sums + 8);
  }
};

}  // namespace

void AddAvx2Int8(CpuKernels& kernels) {
  kernels.int8 = Int8KernelsFor<Int8Madd256>();
  kernels.int4 = Int8KernelsFor<Int4Maddubs256>();
}

}  // namespace latentd
