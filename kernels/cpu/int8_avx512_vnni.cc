// Products of int8 and int4 weights with vpdpbusd: four of them to a lane, unsigned weights times
// signed tokens.
#include <immintrin.h>

#include "kernels/cpu/int8_tile.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

// What both formats share.
struct Vnni512 {
  static constexpr int kRows = 4;
  static constexpr int kTokens = 6;
  static constexpr int64_t kQuadBytes = 4;
  using Acc = __m512i;
  using WOperand = __m512i;
  using XOperand = __m512i;
  static Acc Start(int32_t n) { return _mm512_set1_epi32(n); }
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
  static void AddScaled(Acc acc, __m512 w_scales, float x_scale, float* sums) {
    const __m512 scale = _mm512_mul_ps(w_scales, _mm512_set1_ps(x_scale));
    _mm512_store_ps(sums, _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(acc), _mm512_load_ps(sums)));
  }
};

struct Int8Vnni512 : Vnni512 {
  static constexpr BlockFormat kFormat = kInt8Format;
  static __m512i LoadW(const std::byte* w, int) { return _mm512_loadu_si512(w); }
  static void AddGroup(Acc acc, const std::byte* w_scales, float x_scale, float* sums) {
    AddScaled(acc, _mm512_loadu_ps(w_scales), x_scale, sums);
  }
};

struct Int4Vnni512 : Vnni512 {
  static constexpr BlockFormat kFormat = kInt4Format;
  static __m512i LoadW(const std::byte* w, int half) {
    const __m512i pairs = _mm512_loadu_si512(w);
    return _mm512_and_si512(half == 0 ? pairs : _mm512_srli_epi16(pairs, 4), _mm512_set1_epi8(15));
  }
  static void AddGroup(Acc acc, const std::byte* w_scales, float x_scale, float* sums) {
    const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w_scales));
    const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16);
    AddScaled(acc, _mm512_castsi512_ps(wide), x_scale, sums);
  }
};

}  // namespace

void AddAvx512VnniInt8(CpuKernels& kernels) {
  kernels.int8 = Int8KernelsFor<Int8Vnni512>();
  kernels.int4 = Int8KernelsFor<Int4Vnni512>();
}

}  // namespace latentd
