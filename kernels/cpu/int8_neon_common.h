// What the NEON products of int8 and int4 weights share. Internal linkage, as dot_tile.h.
#pragma once

#include "kernels/cpu/int8_tile.h"
#include "kernels/cpu/neon_common.h"

namespace latentd {
namespace {

// A register holds four numbers of four rows, or those of a token four times.
struct NeonQuads {
  static constexpr int kRows = 1;
  static constexpr int64_t kQuadBytes = 4;
  struct WOperand {
    int8x16_t rows[4];
  };
  using XOperand = int8x16_t;
  static int8x16_t LoadX(const std::byte* x) {
    int32_t quad;
    std::memcpy(&quad, x, sizeof quad);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
  }
  static void StoreQuad(const int8_t* q, std::byte* to) { std::memcpy(to, q, 4); }

 protected:
  static uint8x16_t LoadBytes(const std::byte* w, int i) {
    return vld1q_u8(reinterpret_cast<const uint8_t*>(w) + 16 * i);
  }
  // Four rows: sums += scales of the weights and the token · acc.
  static void AddScaled(int32x4_t acc, float32x4_t w_scales, float x_scale, float* sums) {
    const float32x4_t scale = vmulq_n_f32(w_scales, x_scale);
    vst1q_f32(sums, vfmaq_f32(vld1q_f32(sums), scale, vcvtq_f32_s32(acc)));
  }
};

// Numbers lose their offset as they are read, so that a group begins at nothing.
struct Int8Quads : NeonQuads {
  static constexpr BlockFormat kFormat = kInt8Format;
  static WOperand LoadW(const std::byte* w, int) {
    WOperand numbers;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      numbers.rows[i] = vreinterpretq_s8_u8(veorq_u8(LoadBytes(w, i), vdupq_n_u8(128)));
    }
    return numbers;
  }

 protected:
  static float32x4_t Scales(const std::byte* w_scales, int i) {
    return vld1q_f32(reinterpret_cast<const float*>(w_scales) + 4 * i);
  }
};

struct Int4Quads : NeonQuads {
  static constexpr BlockFormat kFormat = kInt4Format;
  static WOperand LoadW(const std::byte* w, int half) {
    WOperand numbers;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const uint8x16_t both = LoadBytes(w, i);
      numbers.rows[i] =
          vreinterpretq_s8_u8(half == 0 ? vandq_u8(both, vdupq_n_u8(15)) : vshrq_n_u8(both, 4));
    }
    return numbers;
  }

 protected:
  static float32x4_t Scales(const std::byte* w_scales, int i) {
    return WidenBf16(reinterpret_cast<const uint16_t*>(w_scales) + 4 * i);
  }
};

}  // namespace
}  // namespace latentd
