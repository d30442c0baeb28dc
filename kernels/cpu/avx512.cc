// The avx512 path: F, BW, DQ and VL; bf16 and f16 widen to fp32, products and sums are FMA.
#include <immintrin.h>

#include "kernels/cpu/avx512_common.h"
#include "kernels/cpu/dequantise_tile.h"
#include "kernels/cpu/dot_tile.h"
#include "kernels/cpu/softmax_row.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/transposed_tile.h"

namespace latentd {
namespace {

struct Tile512 {
  using Acc = __m512;
  static constexpr int kRows = 4, kTokens = 6;
  static constexpr int kTallRows = 8, kTallTokens = 3;
  static Acc Zero() { return _mm512_setzero_ps(); }
  static void ReduceRows(const Acc (&acc)[8], float* sums) { _mm256_storeu_ps(sums, Sum8(acc)); }
  static void ReduceRows(const Acc (&acc)[4], float* sums) { _mm_storeu_ps(sums, Sum4(acc)); }
  static float Reduce(Acc acc) { return Sum(acc); }
};

// A register of 32 bf16 is 16 even and 16 odd ones, each widened by a shift or a mask; tokens are
// packed in the same order.
struct DotBf16 : Tile512 {
  using Weight = uint16_t;
  using Packed = float;
  using WOperand = __m512;
  using XOperand = __m512;
  static constexpr int kStep = 32;
  static constexpr int kParts = 2;
  static __m512 LoadW(const uint16_t* w, int part) {
    const __m512i both = _mm512_loadu_si512(w);
    return _mm512_castsi512_ps(part == 0 ? _mm512_slli_epi32(both, 16)
                                         : _mm512_and_si512(both, _mm512_set1_epi32(-0x10000)));
  }
  static __m512 LoadX(const float* x, int part) { return _mm512_loadu_ps(x + 16 * part); }
  static Acc MulAdd(Acc acc, __m512 w, __m512 x) { return _mm512_fmadd_ps(w, x, acc); }
  static void PackStep(const float* x, float* to) {
    const __m512 a = WidenBf16(_mm512_castsi256_si512(RoundBf16(_mm512_loadu_ps(x))));
    const __m512 b = WidenBf16(_mm512_castsi256_si512(RoundBf16(_mm512_loadu_ps(x + 16))));
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    _mm512_storeu_ps(to, _mm512_permutex2var_ps(a, even, b));
    _mm512_storeu_ps(to + 16, _mm512_permutex2var_ps(a, odd, b));
  }
};

struct DotPlain : Tile512 {
  using Packed = float;
  using WOperand = __m512;
  using XOperand = __m512;
  static constexpr int kStep = 16;
  static constexpr int kParts = 1;
  static __m512 LoadX(const float* x, int) { return _mm512_loadu_ps(x); }
  static Acc MulAdd(Acc acc, __m512 w, __m512 x) { return _mm512_fmadd_ps(w, x, acc); }
  static void PackStep(const float* x, float* to) { _mm512_storeu_ps(to, _mm512_loadu_ps(x)); }
};

struct DotF16 : DotPlain {
  using Weight = uint16_t;
  static __m512 LoadW(const uint16_t* w, int) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  }
};

struct DotF32 : DotPlain {
  using Weight = float;
  static __m512 LoadW(const float* w, int) { return _mm512_loadu_ps(w); }
};

struct Lanes512 {
  using Vec = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kWide = 16;   // vectors of a one-token tile
  static constexpr int kNarrow = 4;  // vectors of a tile of kTokens
  static constexpr int kTokens = 6;
  static Vec Zero() { return _mm512_setzero_ps(); }
  static Vec Broadcast(float x) { return _mm512_set1_ps(x); }
  static Vec MulAdd(Vec acc, Vec a, Vec b) { return _mm512_fmadd_ps(a, b, acc); }
  static void Store(float* to, Vec value) { _mm512_storeu_ps(to, value); }
};

struct LanesBf16 : Lanes512 {
  using Weight = uint16_t;
  static Vec Load(const uint16_t* w) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w))), 16));
  }
};
struct LanesF16 : Lanes512 {
  using Weight = uint16_t;
  static Vec Load(const uint16_t* w) { return DotF16::LoadW(w, 0); }
};
struct LanesF32 : Lanes512 {
  using Weight = float;
  static Vec Load(const float* w) { return _mm512_loadu_ps(w); }
};

struct Quantised512 {
  using Vec = __m512;
  static constexpr int64_t kLanes = 16;
  static Vec Broadcast(float x) { return _mm512_set1_ps(x); }
  static Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
  static void Store(float* to, Vec value) { _mm512_storeu_ps(to, value); }
};

struct QuantisedE4M3 : Quantised512 {
  static constexpr int64_t kBits = 8;
  static Vec Load(const uint8_t* w) { return WidenE4M3(w); }
};

struct QuantisedInt4 : Quantised512 {
  static constexpr int64_t kBits = 4;
  static Vec Load(const uint8_t* w) {
    int32_t words[2];
    std::memcpy(words, w, sizeof words);
    const __m512i both =
        _mm512_inserti32x8(_mm512_set1_epi32(words[0]), _mm256_set1_epi32(words[1]), 1);
    const __m512i shifts =
        _mm512_set_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
    const __m512i halves = _mm512_and_si512(_mm512_srlv_epi32(both, shifts), _mm512_set1_epi32(15));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(halves, _mm512_set1_epi32(8)));
  }
};

void SiluMul512(float* gate, const float* up, int64_t count) {
  const __m512 one = _mm512_set1_ps(1.0f);
  for (int64_t j = 0; j < count; j += 16) {
    const __mmask16 inside = count - j >= 16 ? 0xffff : (1u << (count - j)) - 1;
    const __m512 x = _mm512_maskz_loadu_ps(inside, gate + j);
    const __m512 e = Exp(_mm512_sub_ps(_mm512_setzero_ps(), x));
    const __m512 y = _mm512_div_ps(x, _mm512_add_ps(one, e));
    _mm512_mask_storeu_ps(gate + j, inside,
                          _mm512_mul_ps(y, _mm512_maskz_loadu_ps(inside, up + j)));
  }
}

}  // namespace

void AddAvx512Kernels(CpuKernels& kernels) {
  kernels.dot[static_cast<int>(DType::kF32)] = DotKernelsFor<DotF32>();
  kernels.dot[static_cast<int>(DType::kF16)] = DotKernelsFor<DotF16>();
  kernels.dot[static_cast<int>(DType::kBF16)] = DotKernelsFor<DotBf16>();
  kernels.transposed[static_cast<int>(DType::kF32)] = RunTransposedPanel<LanesF32>;
  kernels.transposed[static_cast<int>(DType::kF16)] = RunTransposedPanel<LanesF16>;
  kernels.transposed[static_cast<int>(DType::kBF16)] = RunTransposedPanel<LanesBf16>;
  kernels.dequantise_e4m3 = DequantiseRowTile<QuantisedE4M3>;
  kernels.dequantise_int4 = DequantiseRowTile<QuantisedInt4>;
  kernels.silu_mul = SiluMul512;
  kernels.softmax_weights = SoftmaxWeights<Ops512>;
  for (const CacheFormat format : {CacheFormat::kBf16, CacheFormat::kInt8}) {
    kernels.attention[static_cast<int>(format)] = Avx512Attention(format);
  }
}

}  // namespace latentd
