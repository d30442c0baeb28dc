// The avx512-bf16 path: avx512 with vdpbf16ps for bf16 weights and the bf16 latent. That
// instruction adds two products to each of 16 lanes, the odd element's first and the even one's
// after it, rounds to nearest even whatever the mode, and takes and leaves denormals as zero. Its
// bits are therefore this path's own.
#include <immintrin.h>

#include "kernels/cpu/avx512_common.h"
#include "kernels/cpu/dot_tile.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

inline __m512 Dp(__m512 acc, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}

struct DotBf16 {
  using Weight = uint16_t;
  using Packed = uint16_t;
  using Acc = __m512;
  using WOperand = __m512i;
  using XOperand = __m512i;
  static constexpr int kStep = 32;
  static constexpr int kParts = 1;
  // Rows of a mapped file begin anywhere, and a load across two cache lines counts twice: fewer
  // rows and more tokens are faster than the 8 × 3 that has as many products.
  static constexpr int kRows = 4, kTokens = 6;
  static constexpr int kTallRows = 8, kTallTokens = 3;
  static Acc Zero() { return _mm512_setzero_ps(); }
  static __m512i LoadW(const uint16_t* w, int) { return _mm512_loadu_si512(w); }
  static __m512i LoadX(const uint16_t* x, int) { return _mm512_loadu_si512(x); }
  static Acc MulAdd(Acc acc, __m512i w, __m512i x) { return Dp(acc, w, x); }
  static void PackStep(const float* x, uint16_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), RoundBf16(_mm512_loadu_ps(x)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 16), RoundBf16(_mm512_loadu_ps(x + 16)));
  }
  static void ReduceRows(const Acc (&acc)[8], float* sums) { _mm256_storeu_ps(sums, Sum8(acc)); }
  static void ReduceRows(const Acc (&acc)[4], float* sums) { _mm_storeu_ps(sums, Sum4(acc)); }
  static float Reduce(Acc acc) { return Sum(acc); }
};

}  // namespace

void AddAvx512Bf16Kernels(CpuKernels& kernels) {
  kernels.dot[static_cast<int>(DType::kBF16)] = DotKernelsFor<DotBf16>();
  for (const CacheFormat format : {CacheFormat::kBf16, CacheFormat::kInt8}) {
    kernels.attention[static_cast<int>(format)] = Avx512Bf16Attention(format);
  }
}

}  // namespace latentd
