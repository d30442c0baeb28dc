// Products of int8 and int4 weights with usdot: four of them to a lane, unsigned weights times
// signed tokens.
#include "kernels/cpu/int8_tile.h"
#include "kernels/cpu/sve_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

// What both formats share.
struct SveQuads {
  static constexpr int kRows = 1;
  static constexpr int kTokens = 8;  // 16 accumulators beside both halves of the weights
  static constexpr int64_t kQuadBytes = 4;
  struct Acc {  // of eight rows each
    I32x8 rows[2];
  };
  struct WOperand {
    U8x32 rows[2];
  };
  using XOperand = I8x32;
  static Acc Start(int32_t n) { return {{svdup_n_s32(n), svdup_n_s32(n)}}; }
  static I8x32 LoadX(const std::byte* x) {
    int32_t quad;
    std::memcpy(&quad, x, sizeof quad);
    return svreinterpret_s8_s32(svdup_n_s32(quad));
  }
  static Acc Dot(const Acc& acc, const WOperand& w, I8x32 x) {
    return {{svusdot_s32(acc.rows[0], w.rows[0], x), svusdot_s32(acc.rows[1], w.rows[1], x)}};
  }
  static void StoreQuad(const int8_t* q, std::byte* to) { std::memcpy(to, q, 4); }

 protected:
  static U8x32 LoadBytes(const std::byte* w, int i) {
    return svld1_u8(svptrue_b8(), reinterpret_cast<const uint8_t*>(w) + 32 * i);
  }
  // Eight rows: sums += scales of the weights and the token · acc.
  static void AddScaled(I32x8 acc, F32x8 w_scales, float x_scale, float* sums) {
    const svbool_t all = svptrue_b32();
    const F32x8 scale = svmul_n_f32_x(all, w_scales, x_scale);
    svst1_f32(all, sums, svmla_f32_x(all, svld1_f32(all, sums), scale, svcvt_f32_s32_x(all, acc)));
  }
};

struct Int8Sve : SveQuads {
  static constexpr BlockFormat kFormat = kInt8Format;
  static WOperand LoadW(const std::byte* w, int) { return {{LoadBytes(w, 0), LoadBytes(w, 1)}}; }
  static void AddGroup(const Acc& acc, const std::byte* w_scales, float x_scale, float* sums) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const auto* scales = reinterpret_cast<const float*>(w_scales) + 8 * i;
      AddScaled(acc.rows[i], svld1_f32(svptrue_b32(), scales), x_scale, sums + 8 * i);
    }
  }
};

struct Int4Sve : SveQuads {
  static constexpr BlockFormat kFormat = kInt4Format;
  static WOperand LoadW(const std::byte* w, int half) {
    return {{Half(LoadBytes(w, 0), half), Half(LoadBytes(w, 1), half)}};
  }
  static void AddGroup(const Acc& acc, const std::byte* w_scales, float x_scale, float* sums) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const auto* scales = reinterpret_cast<const uint16_t*>(w_scales) + 8 * i;
      AddScaled(acc.rows[i], WidenBf16(scales), x_scale, sums + 8 * i);
    }
  }

 private:
  static U8x32 Half(U8x32 both, int half) {
    return half == 0 ? svand_n_u8_x(svptrue_b8(), both, 15) : svlsr_n_u8_x(svptrue_b8(), both, 4);
  }
};

}  // namespace

void AddSveInt8(CpuKernels& kernels) {
  kernels.int8 = Int8KernelsFor<Int8Sve>();
  kernels.int4 = Int8KernelsFor<Int4Sve>();
}

}  // namespace latentd
