// Absorbed attention of the sve path: bfdot for the scores, straight from the cache rows, and for
// P·C over pairs of tokens (attention_pairs.h). How bfdot rounds: sve.cc.
#include "kernels/cpu/attention_pairs.h"
#include "kernels/cpu/sve_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

struct Bf16Products : OpsSve {
  using Operand = Bf16x16;
  using Words = U16x16;
  static constexpr int kStep = 16;

  static void PackStep(const float* q, uint16_t* to) { StoreWords(to, RoundBf16(q)); }
  static U16x16 LoadWords(const uint16_t* from) { return svld1_u16(svptrue_b16(), from); }
  static void StoreWords(uint16_t* to, U16x16 words) { svst1_u16(svptrue_b16(), to, words); }
  static Bf16x16 LoadQ(const uint16_t* q) { return svreinterpret_bf16_u16(LoadWords(q)); }
  static Bf16x16 LoadC(const uint16_t* c) { return LoadQ(c); }
  static Bf16x16 LoadCTail(const uint16_t* c, int64_t n) {
    return svreinterpret_bf16_u16(svld1_u16(svwhilelt_b16_s64(0, n), c));
  }
  static F32x8 Dot(F32x8 acc, Bf16x16 a, Bf16x16 b) { return svbfdot_f32(acc, a, b); }
  static void StoreP(F32x8 p, uint16_t* to) {
    svst1h_u32(svptrue_b32(), to, svlsr_n_u32_x(svptrue_b32(), svreinterpret_u32_f32(p), 16));
  }

  static U16x16 Convert(const int8_t* c) { return RoundBf16(Widen(c), Widen(c + 8)); }
  static void StorePair(uint32_t* to, U16x16 even, U16x16 odd) {
    svst1_u32(svptrue_b32(), to, svreinterpret_u32_u16(svzip1_u16(even, odd)));
    svst1_u32(svptrue_b32(), to + 8, svreinterpret_u32_u16(svzip2_u16(even, odd)));
  }
  template <bool kHasOdd>
  static Bf16x16 LoadPair(const uint32_t* from) {
    const U32x8 pairs = svld1_u32(svptrue_b32(), from);
    return svreinterpret_bf16_u32(kHasOdd ? pairs
                                          : U32x8(svand_n_u32_x(svptrue_b32(), pairs, 0xffff)));
  }
  static Bf16x16 SetPair(uint32_t pair) { return svreinterpret_bf16_u32(svdup_n_u32(pair)); }

  static void Finish(const AttentionShape& shape, const AttentionState& state, float* out,
                     int64_t ld) {
    for (int64_t h = 0; h < shape.num_heads; ++h) {
      const F32x8 sum = Set1(state.sum[h]);
      const float* acc = state.acc + h * shape.row_latent;
      for (int64_t j = 0; j < shape.row_latent; j += kLanes) {
        Store(out + h * ld + j, Div(Load(acc + j), sum));
      }
    }
  }
};

}  // namespace

AttentionKernels SveAttention(CacheFormat format) { return PairedKernels<Bf16Products>(format); }

}  // namespace latentd
