// Products of int8 and int4 weights where AArch64 has sdot: four of them to a lane.
#include "kernels/cpu/int8_neon_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

// kOffset: whether numbers are read with their offset, so that lanes begin at its correction.
template <class Quads, bool kOffset>
struct NeonDot : Quads {
  static constexpr int kTokens = 4;  // 16 accumulators beside both halves of the weights
  struct Acc {                       // of four rows each
    int32x4_t rows[4];
  };
  static Acc Start(int32_t n) {
    const int32x4_t start = vdupq_n_s32(kOffset ? n : 0);
    return {{start, start, start, start}};
  }
  static Acc Dot(Acc acc, const typename Quads::WOperand& w, int8x16_t x) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) acc.rows[i] = vdotq_s32(acc.rows[i], w.rows[i], x);
    return acc;
  }
  static void AddGroup(const Acc& acc, const std::byte* w_scales, float x_scale, float* sums) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      Quads::AddScaled(acc.rows[i], Quads::Scales(w_scales, i), x_scale, sums + 4 * i);
    }
  }
};

}  // namespace

void AddNeonDotInt8(CpuKernels& kernels) {
  kernels.int8 = Int8KernelsFor<NeonDot<Int8Quads, false>>();
  kernels.int4 = Int8KernelsFor<NeonDot<Int4Quads, true>>();
}

}  // namespace latentd
