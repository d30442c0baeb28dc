// Absorbed attention of the avx512-bf16 path: vdpbf16ps for the scores, straight from the cache
// rows, and for P·C over pairs of tokens (attention_pairs.h).
//
// Of a block's four registers 0 and 1 come from 32 neighbouring lanes, in the order that
// interleaving within 128-bit quarters leaves: 0 holds lanes 8·i + 0 … 3, 1 holds lanes 8·i + 4 …
// 7; 2 and 3 likewise. Accumulators keep that order until Finish. 64 lanes of 32 pairs are 8 KiB.
#include <immintrin.h>

#include "kernels/cpu/attention_pairs.h"
#include "kernels/cpu/avx512_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

struct Bf16Products : Ops512 {
  using Operand = __m512i;
  using Words = __m512i;
  static constexpr int kStep = 32;

  static void PackStep(const float* q, uint16_t* to) {
    StoreP(_mm512_loadu_ps(q), to);
    StoreP(_mm512_loadu_ps(q + 16), to + 16);
  }
  static __m512i LoadWords(const uint16_t* from) { return _mm512_loadu_si512(from); }
  static void StoreWords(uint16_t* to, __m512i words) { _mm512_storeu_si512(to, words); }
  static __m512i LoadQ(const uint16_t* q) { return LoadWords(q); }
  static __m512i LoadC(const uint16_t* c) { return LoadWords(c); }
  static __m512i LoadCTail(const uint16_t* c, int64_t n) {
    return n >= kStep ? LoadC(c) : _mm512_maskz_loadu_epi16((1u << n) - 1, c);
  }
  static __m512 Dot(__m512 acc, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
  }
  static void StoreP(__m512 p, uint16_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), RoundBf16(p));
  }

  static __m512i Convert(const int8_t* c) {
    return (__m512i)_mm512_cvtne2ps_pbh(Widen(c + 16), Widen(c));
  }
  static void StorePair(uint32_t* to, __m512i even, __m512i odd) {
    _mm512_store_si512(to, _mm512_unpacklo_epi16(even, odd));
    _mm512_store_si512(to + 16, _mm512_unpackhi_epi16(even, odd));
  }
  template <bool kHasOdd>
  static __m512i LoadPair(const uint32_t* from) {
    const __m512i pairs = _mm512_load_si512(from);
    return kHasOdd ? pairs : _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff));
  }
  static __m512i SetPair(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }

  static void Finish(const AttentionShape& shape, const AttentionState& state, float* out,
                     int64_t ld) {
    for (int64_t h = 0; h < shape.num_heads; ++h) {
      const __m512 sum = Set1(state.sum[h]);
      const float* acc = state.acc + h * shape.row_latent;
      for (int64_t j = 0; j < shape.row_latent; j += 32) {
        const __m512 low = Div(Load(acc + j), sum);
        const __m512 high = Div(Load(acc + j + 16), sum);
        const __m512i first =
            _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
        const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
        Store(out + h * ld + j, _mm512_permutex2var_ps(low, first, high));
        Store(out + h * ld + j + 16, _mm512_permutex2var_ps(low, second, high));
      }
    }
  }
};

}  // namespace

AttentionKernels Avx512Bf16Attention(CacheFormat format) {
  return PairedKernels<Bf16Products>(format);
}

}  // namespace latentd
