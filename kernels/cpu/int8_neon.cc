// Products of int8 and int4 weights on any AArch64: smull and smlal make products of 8 bits in 16,
// sadalp adds neighbours in 32: exact.
#include "kernels/cpu/int8_neon_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

struct Int8Neon128 : Int8Quads {
  static constexpr int kTokens = 2;
  struct Acc {  // of two rows each, two lanes a row
    int32x4_t pairs[8];
  };
  static Acc Start(int32_t) { return {}; }
  static Acc Dot(Acc acc, const WOperand& w, int8x16_t x) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int16x8_t low = vmull_s8(vget_low_s8(w.rows[i]), vget_low_s8(x));
      const int16x8_t high = vmull_high_s8(w.rows[i], x);
      acc.pairs[2 * i] = vpadalq_s16(acc.pairs[2 * i], low);
      acc.pairs[2 * i + 1] = vpadalq_s16(acc.pairs[2 * i + 1], high);
    }
    return acc;
  }
  static void AddGroup(const Acc& acc, const std::byte* w_scales, float x_scale, float* sums) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      AddScaled(vpaddq_s32(acc.pairs[2 * i], acc.pairs[2 * i + 1]), Scales(w_scales, i), x_scale,
                sums + 4 * i);
    }
  }
};

struct Int4Neon128 : Int4Quads {
  static_assert(kFormat.group / 4 * 15 * 127 <= 32767,
                "a lane holds a quarter of a row's products");
  static constexpr int kTokens = 2;
  struct Acc {  // of two rows each, in 16 bits, four lanes a row; where they begin
    int16x8_t pairs[8];
    int32_t start;
  };
  static Acc Start(int32_t n) { return {{}, n}; }
  static Acc Dot(Acc acc, const WOperand& w, int8x16_t x) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      acc.pairs[2 * i] = vmlal_s8(acc.pairs[2 * i], vget_low_s8(w.rows[i]), vget_low_s8(x));
      acc.pairs[2 * i + 1] = vmlal_high_s8(acc.pairs[2 * i + 1], w.rows[i], x);
    }
    return acc;
  }
  static void AddGroup(const Acc& acc, const std::byte* w_scales, float x_scale, float* sums) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int32x4_t products =
          vpaddq_s32(vpaddlq_s16(acc.pairs[2 * i]), vpaddlq_s16(acc.pairs[2 * i + 1]));
      AddScaled(vaddq_s32(products, vdupq_n_s32(acc.start)), Scales(w_scales, i), x_scale,
                sums + 4 * i);
    }
  }
};

}  // namespace

void AddNeonInt8(CpuKernels& kernels) {
  kernels.int8 = Int8KernelsFor<Int8Neon128>();
  kernels.int4 = Int8KernelsFor<Int4Neon128>();
}

}  // namespace latentd
