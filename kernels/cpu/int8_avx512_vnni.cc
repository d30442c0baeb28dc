// int8 products with vpdpbusd: four of them to a lane, unsigned weights times signed tokens.
#include <immintrin.h>

#include "kernels/cpu/int8_tile.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

struct Vnni512 {
  static constexpr int kRows = 4;
  static constexpr int kTokens = 6;
  static constexpr int64_t kQuadBytes = 4;
  using Acc = __m512i;
  using WOperand = __m512i;
  using XOperand = __m512i;
  static Acc Start(int32_t n) { return _mm512_set1_epi32(n); }
  static __m512i LoadW(const std::byte* w) { return _mm512_loadu_si512(w); }
  static __m512i LoadX(const std::byte* x) {
    int32_t quad;
    std::memcpy(&quad, x, sizeof quad);
    return _mm512_set1_epi32(quad);
  }
  // g++ 12 copies the accumulator before and after its own intrinsic.
  static Acc Dot(Acc acc, __m512i w, __m512i x) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
    return acc;
  }
  static void StoreQuad(const int8_t* q, std::byte* to) { std::memcpy(to, q, 4); }
  static void AddGroup(Acc acc, const std::byte* w_scales, float x_scale, float* sums) {
    const __m512 scale = _mm512_mul_ps(_mm512_loadu_ps(w_scales), _mm512_set1_ps(x_scale));
    _mm512_store_ps(sums, _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(acc), _mm512_load_ps(sums)));
  }
};

}  // namespace

Int8Kernels Avx512VnniInt8() { return Int8KernelsFor<Vnni512>(); }

}  // namespace latentd
