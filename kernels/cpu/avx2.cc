// The avx2 path: AVX2, FMA and F16C; bf16 and f16 widen to fp32, products and sums are FMA.
#include <immintrin.h>

#include "kernels/cpu/avx2_common.h"
#include "kernels/cpu/dequantise_tile.h"
#include "kernels/cpu/dot_tile.h"
#include "kernels/cpu/softmax_row.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/transposed_tile.h"

namespace latentd {
namespace {

struct Tile256 {
  using Acc = __m256;
  static constexpr int kRows = 4, kTokens = 2;
  static constexpr int kTallRows = kRows, kTallTokens = kTokens;
  static Acc Zero() { return _mm256_setzero_ps(); }
  static void ReduceRows(const Acc (&acc)[4], float* sums) {
    _mm_storeu_ps(sums, Sum4(acc[0], acc[1], acc[2], acc[3]));
  }
  static float Reduce(Acc acc) { return _mm_cvtss_f32(Sum4(acc, acc, acc, acc)); }
};

// A register of 16 bf16 is 8 even and 8 odd ones, each widened by a shift or a mask; tokens are
// packed in the same order.
struct DotBf16 : Tile256 {
  using Weight = uint16_t;
  using Packed = float;
  using WOperand = __m256;
  using XOperand = __m256;
  static constexpr int kStep = 16;
  static constexpr int kParts = 2;
  static __m256 LoadW(const uint16_t* w, int part) {
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
    return _mm256_castsi256_ps(part == 0 ? _mm256_slli_epi32(both, 16)
                                         : _mm256_and_si256(both, _mm256_set1_epi32(-0x10000)));
  }
  static __m256 LoadX(const float* x, int part) { return _mm256_loadu_ps(x + 8 * part); }
  static Acc MulAdd(Acc acc, __m256 w, __m256 x) { return _mm256_fmadd_ps(w, x, acc); }
  static void PackStep(const float* x, float* to) {
    float rounded[16];
    _mm256_storeu_ps(rounded, RoundedToBf16(_mm256_loadu_ps(x)));
    _mm256_storeu_ps(rounded + 8, RoundedToBf16(_mm256_loadu_ps(x + 8)));
    for (int i = 0; i < 8; ++i) {
      to[i] = rounded[2 * i];
      to[8 + i] = rounded[2 * i + 1];
    }
  }
};

struct DotPlain : Tile256 {
  using Packed = float;
  using WOperand = __m256;
  using XOperand = __m256;
  static constexpr int kStep = 8;
  static constexpr int kParts = 1;
  static __m256 LoadX(const float* x, int) { return _mm256_loadu_ps(x); }
  static Acc MulAdd(Acc acc, __m256 w, __m256 x) { return _mm256_fmadd_ps(w, x, acc); }
  static void PackStep(const float* x, float* to) { _mm256_storeu_ps(to, _mm256_loadu_ps(x)); }
};

struct DotF16 : DotPlain {
  using Weight = uint16_t;
  static __m256 LoadW(const uint16_t* w, int) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  }
};

struct DotF32 : DotPlain {
  using Weight = float;
  static __m256 LoadW(const float* w, int) { return _mm256_loadu_ps(w); }
};

struct Lanes256 {
  using Vec = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kWide = 8;    // vectors of a one-token tile
  static constexpr int kNarrow = 2;  // vectors of a tile of kTokens
  static constexpr int kTokens = 5;
  static Vec Zero() { return _mm256_setzero_ps(); }
  static Vec Broadcast(float x) { return _mm256_set1_ps(x); }
  static Vec MulAdd(Vec acc, Vec a, Vec b) { return _mm256_fmadd_ps(a, b, acc); }
  static void Store(float* to, Vec value) { _mm256_storeu_ps(to, value); }
};

struct LanesBf16 : Lanes256 {
  using Weight = uint16_t;
  static Vec Load(const uint16_t* w) { return WidenBf16(w); }
};
struct LanesF16 : Lanes256 {
  using Weight = uint16_t;
  static Vec Load(const uint16_t* w) { return DotF16::LoadW(w, 0); }
};
struct LanesF32 : Lanes256 {
  using Weight = float;
  static Vec Load(const float* w) { return _mm256_loadu_ps(w); }
};

struct Quantised256 {
  using Vec = __m256;
  static constexpr int64_t kLanes = 8;
  static Vec Broadcast(float x) { return _mm256_set1_ps(x); }
  static Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
  static void Store(float* to, Vec value) { _mm256_storeu_ps(to, value); }
};

struct QuantisedE4M3 : Quantised256 {
  static constexpr int64_t kBits = 8;
  static Vec Load(const uint8_t* w) { return WidenE4M3(w); }
};

struct QuantisedInt4 : Quantised256 {
  static constexpr int64_t kBits = 4;
  static Vec Load(const uint8_t* w) {
    int32_t word;
    std::memcpy(&word, w, sizeof word);
    const __m256i shifts = _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0);
    const __m256i halves =
        _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(word), shifts), _mm256_set1_epi32(15));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(halves, _mm256_set1_epi32(8)));
  }
};

void SiluMul256(float* gate, const float* up, int64_t count) {
  for (int64_t j = 0; j < count; j += 8) {
    const __m256i inside = LanesBelow(count - j);
    const __m256 x = _mm256_maskload_ps(gate + j, inside);
    const __m256 e = Exp(_mm256_sub_ps(_mm256_setzero_ps(), x));
    const __m256 y = _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
    _mm256_maskstore_ps(gate + j, inside, _mm256_mul_ps(y, _mm256_maskload_ps(up + j, inside)));
  }
}

}  // namespace

void AddAvx2Kernels(CpuKernels& kernels) {
  kernels.dot[static_cast<int>(DType::kF32)] = DotKernelsFor<DotF32>();
  kernels.dot[static_cast<int>(DType::kF16)] = DotKernelsFor<DotF16>();
  kernels.dot[static_cast<int>(DType::kBF16)] = DotKernelsFor<DotBf16>();
  kernels.transposed[static_cast<int>(DType::kF32)] = RunTransposedPanel<LanesF32>;
  kernels.transposed[static_cast<int>(DType::kF16)] = RunTransposedPanel<LanesF16>;
  kernels.transposed[static_cast<int>(DType::kBF16)] = RunTransposedPanel<LanesBf16>;
  kernels.dequantise_e4m3 = DequantiseRowTile<QuantisedE4M3>;
  kernels.dequantise_int4 = DequantiseRowTile<QuantisedInt4>;
  kernels.silu_mul = SiluMul256;
  kernels.softmax_weights = SoftmaxWeights<Ops256>;
  for (const CacheFormat format : {CacheFormat::kBf16, CacheFormat::kInt8}) {
    kernels.attention[static_cast<int>(format)] = Avx2Attention(format);
  }
}

}  // namespace latentd
