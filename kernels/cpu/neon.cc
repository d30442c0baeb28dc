// The neon path, the baseline of AArch64: bf16 and f16 widen to fp32, products and sums are FMA.
#include <algorithm>

#include "kernels/cpu/dequantise_tile.h"
#include "kernels/cpu/dot_tile.h"
#include "kernels/cpu/neon_common.h"
#include "kernels/cpu/softmax_row.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/transposed_tile.h"

namespace latentd {
namespace {

// 12 accumulators: with 24, g++ 12 loads all weights of a step first and spills accumulators.
struct Tile128 {
  using Acc = float32x4_t;
  using WOperand = float32x4_t;
  using XOperand = float32x4_t;
  using Packed = float;
  static constexpr int kRows = 4, kTokens = 3;
  static constexpr int kTallRows = kRows, kTallTokens = kTokens;
  static Acc Zero() { return vdupq_n_f32(0); }
  static Acc MulAdd(Acc acc, float32x4_t w, float32x4_t x) { return vfmaq_f32(acc, w, x); }
  static void ReduceRows(const Acc (&acc)[4], float* sums) {
    vst1q_f32(sums, Sum4(acc[0], acc[1], acc[2], acc[3]));
  }
  static float Reduce(Acc acc) { return Sum(acc); }
};

// A register of 8 bf16 is 4 even and 4 odd ones, each widened by a shift or a mask; tokens are
// packed in the same order.
struct DotBf16 : Tile128 {
  using Weight = uint16_t;
  static constexpr int kStep = 8;
  static constexpr int kParts = 2;
  static float32x4_t LoadW(const uint16_t* w, int part) {
    const uint32x4_t both = vreinterpretq_u32_u16(vld1q_u16(w));
    return vreinterpretq_f32_u32(part == 0 ? vshlq_n_u32(both, 16)
                                           : vandq_u32(both, vdupq_n_u32(0xffff0000)));
  }
  static float32x4_t LoadX(const float* x, int part) { return vld1q_f32(x + 4 * part); }
  static void PackStep(const float* x, float* to) {
    const float32x4_t low = RoundedToBf16(vld1q_f32(x)), high = RoundedToBf16(vld1q_f32(x + 4));
    vst1q_f32(to, vuzp1q_f32(low, high));
    vst1q_f32(to + 4, vuzp2q_f32(low, high));
  }
};

struct DotPlain : Tile128 {
  static constexpr int kStep = 4;
  static constexpr int kParts = 1;
  static float32x4_t LoadX(const float* x, int) { return vld1q_f32(x); }
  static void PackStep(const float* x, float* to) { vst1q_f32(to, vld1q_f32(x)); }
};

struct DotF16 : DotPlain {
  using Weight = uint16_t;
  static float32x4_t LoadW(const uint16_t* w, int) { return WidenF16(vld1_u16(w)); }
};

struct DotF32 : DotPlain {
  using Weight = float;
  static float32x4_t LoadW(const float* w, int) { return vld1q_f32(w); }
};

struct Lanes128 {
  using Vec = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kWide = 16;   // vectors of a one-token tile
  static constexpr int kNarrow = 4;  // vectors of a tile of kTokens
  static constexpr int kTokens = 5;
  static Vec Zero() { return vdupq_n_f32(0); }
  static Vec Broadcast(float x) { return vdupq_n_f32(x); }
  static Vec MulAdd(Vec acc, Vec a, Vec b) { return vfmaq_f32(acc, a, b); }
  static void Store(float* to, Vec value) { vst1q_f32(to, value); }
};

struct LanesBf16 : Lanes128 {
  using Weight = uint16_t;
  static Vec Load(const uint16_t* w) { return WidenBf16(w); }
};
struct LanesF16 : Lanes128 {
  using Weight = uint16_t;
  static Vec Load(const uint16_t* w) { return WidenF16(vld1_u16(w)); }
};
struct LanesF32 : Lanes128 {
  using Weight = float;
  static Vec Load(const float* w) { return vld1q_f32(w); }
};

struct Quantised128 {
  using Vec = float32x4_t;
  static constexpr int64_t kLanes = 4;
  static Vec Broadcast(float x) { return vdupq_n_f32(x); }
  static Vec Mul(Vec a, Vec b) { return vmulq_f32(a, b); }
  static void Store(float* to, Vec value) { vst1q_f32(to, value); }
};

struct QuantisedE4M3 : Quantised128 {
  static constexpr int64_t kBits = 8;
  static Vec Load(const uint8_t* w) { return WidenE4M3(w); }
};

struct QuantisedInt4 : Quantised128 {
  static constexpr int64_t kBits = 4;
  static Vec Load(const uint8_t* w) { return WidenInt4(w); }
};

inline float32x4_t SiluMul4(float32x4_t x, float32x4_t up) {
  const float32x4_t e = Exp(vnegq_f32(x));
  return vmulq_f32(vdivq_f32(x, vaddq_f32(vdupq_n_f32(1), e)), up);
}

void SiluMul128(float* gate, const float* up, int64_t count) {
  int64_t j = 0;
  for (; j + 4 <= count; j += 4) {
    vst1q_f32(gate + j, SiluMul4(vld1q_f32(gate + j), vld1q_f32(up + j)));
  }
  if (j == count) return;
  float last[2][4] = {};
  std::copy_n(gate + j, count - j, last[0]);
  std::copy_n(up + j, count - j, last[1]);
  vst1q_f32(last[0], SiluMul4(vld1q_f32(last[0]), vld1q_f32(last[1])));
  std::copy_n(last[0], count - j, gate + j);
}

}  // namespace

void AddNeonKernels(CpuKernels& kernels) {
  kernels.dot[static_cast<int>(DType::kF32)] = DotKernelsFor<DotF32>();
  kernels.dot[static_cast<int>(DType::kF16)] = DotKernelsFor<DotF16>();
  kernels.dot[static_cast<int>(DType::kBF16)] = DotKernelsFor<DotBf16>();
  kernels.transposed[static_cast<int>(DType::kF32)] = RunTransposedPanel<LanesF32>;
  kernels.transposed[static_cast<int>(DType::kF16)] = RunTransposedPanel<LanesF16>;
  kernels.transposed[static_cast<int>(DType::kBF16)] = RunTransposedPanel<LanesBf16>;
  kernels.dequantise_e4m3 = DequantiseRowTile<QuantisedE4M3>;
  kernels.dequantise_int4 = DequantiseRowTile<QuantisedInt4>;
  kernels.silu_mul = SiluMul128;
  kernels.softmax_weights = SoftmaxWeights<Ops128>;
  for (const CacheFormat format : {CacheFormat::kBf16, CacheFormat::kInt8}) {
    kernels.attention[static_cast<int>(format)] = NeonAttention(format);
  }
}

}  // namespace latentd
