// The sve path: neon with registers of 256 bits for products of bf16 weights (here), attention
// (attention_sve.cc) and int8 and int4 weights (int8_sve.cc). The rest is neon's: on Neoverse V1
// four pipes of 128 bits make up the two of 256, and fp32 gains nothing.
//
// bfdot adds two products of bf16 to a lane of fp32: the sum of the two is rounded, then added to
// the lane and rounded again. Both roundings are to odd: what is inexact is cut and its last bit
// set, an error of less than one unit in the last place where to nearest has half of one. Denormals
// count as zero, as operands and as results. Products themselves are exact. bfmmla does that twice
// for every lane. So it is on every CPU while FPCR.EBF is 0, which nothing here changes. Its bits
// are therefore this path's own.
#include "kernels/cpu/dot_tile.h"
#include "kernels/cpu/sve_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

// bfmmla: in either half of the registers, two rows of four elements times two tokens of four, onto
// four sums: twice the products of bfdot.
//
// The sum of an output, a block of K (table.h) after the other, each folded left onto y: within a
// block, elements 0 … 3, 8 … 11, 16 … 19, … are one sum, 4 … 7, 12 … 15, … another, each by bfdot
// from zero over pairs of neighbours in ascending order; the two are added.
struct DotBf16 {
  using Weight = uint16_t;
  using Packed = uint16_t;
  static constexpr bool kOwnBlock = true;
  static constexpr int kStep = 16;
  // 16 accumulators beside 8 registers of tokens and those of two rows.
  static constexpr int kRows = 8, kTokens = 8;
  static constexpr int kTallRows = kRows, kTallTokens = kTokens;

  // A step of two rows or tokens as bfmmla wants them: four elements of the first, four of the
  // second, in turn.
  struct Two {
    Bf16x16 low, high;
  };
  static Two Interleave(U16x16 a, U16x16 b) {
    const svuint64_t first = svreinterpret_u64_u16(a), second = svreinterpret_u64_u16(b);
    return {svreinterpret_bf16_u64(svzip1_u64(first, second)),
            svreinterpret_bf16_u64(svzip2_u64(first, second))};
  }
  static U16x16 Load(const uint16_t* from) { return svld1_u16(svptrue_b16(), from); }

  // Tokens of a tile, two by two; a last one alone lies as it is.
  static void Pack(const float* x, int64_t ld, int64_t count, int64_t k, void* tile) {
    auto* to = static_cast<uint16_t*>(tile);
    for (int64_t k0 = 0; k0 < k; k0 += kStep) {
      const auto step = [&](int64_t t) {
        const float* from = x + t * ld + k0;
        if (k - k0 >= kStep) return RoundBf16(from);
        float padded[kStep] = {};
        for (int64_t i = 0; i < k - k0; ++i) padded[i] = from[i];
        return RoundBf16(padded);
      };
      int64_t t = 0;
      for (; t + 2 <= count; t += 2, to += 2 * kStep) {
        const Two two = Interleave(step(t), step(t + 1));
        svst1_u16(svptrue_b16(), to, svreinterpret_u16_bf16(two.low));
        svst1_u16(svptrue_b16(), to + kStep, svreinterpret_u16_bf16(two.high));
      }
      if (t == count) continue;
      svst1_u16(svptrue_b16(), to, step(t));
      to += kStep;
    }
  }

  // One step of R rows and T tokens; the rows are ld elements apart.
  template <int R, int T, bool kFetch>
  [[gnu::always_inline]] static void Step(const uint16_t* w, int64_t w_ld, int64_t ahead,
                                          const uint16_t* x,
                                          F32x8 (&acc)[(T + 1) / 2][(R + 1) / 2]) {
    Two tokens[(T + 1) / 2];
#pragma GCC unroll 4
    for (int t = 0; t < T; t += 2) {
      const U16x16 first = Load(x + t * kStep);
      tokens[t / 2] = Interleave(first, first);
      if (t + 1 == T) continue;
      tokens[t / 2] = {svreinterpret_bf16_u16(first),
                       svreinterpret_bf16_u16(Load(x + t * kStep + kStep))};
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; r += 2) {
      const uint16_t* second = w + (r + 1 < R ? r + 1 : r) * w_ld;
      if constexpr (kFetch) {
        __builtin_prefetch(w + r * w_ld + ahead, 0, 2);
        if (r + 1 < R) __builtin_prefetch(second + ahead, 0, 2);
      }
      const Two rows = Interleave(Load(w + r * w_ld), Load(second));
#pragma GCC unroll 4
      for (int t = 0; t < (T + 1) / 2; ++t) {
        acc[t][r / 2] = svbfmmla_f32(acc[t][r / 2], rows.low, tokens[t].low);
      }
#pragma GCC unroll 4
      for (int t = 0; t < (T + 1) / 2; ++t) {
        acc[t][r / 2] = svbfmmla_f32(acc[t][r / 2], rows.high, tokens[t].high);
      }
    }
  }

  // As DotBlock.
  template <int R, int T, bool kFetch, bool kPartial>
  static void Block(const uint16_t* w, int64_t w_ld, int64_t ahead, const uint16_t* x, int64_t k,
                    bool first, float* y, int64_t y_ld) {
    F32x8 acc[(T + 1) / 2][(R + 1) / 2];
#pragma GCC unroll 4
    for (int t = 0; t < T; t += 2) {
#pragma GCC unroll 4
      for (int r = 0; r < R; r += 2) acc[t / 2][r / 2] = svdup_n_f32(0);
    }
    const int64_t full = k / kStep * kStep;
    for (int64_t i = 0; i < full; i += kStep) {
      Step<R, T, kFetch>(w + i, w_ld, ahead, x + i * T, acc);
    }
    if constexpr (kPartial) {  // copied beside zeros: a load past a row's end could leave the
                               // mapping
      uint16_t padded[R][kStep] = {};
      for (int r = 0; r < R; ++r) {
        for (int64_t i = full; i < k; ++i) padded[r][i - full] = w[r * w_ld + i];
      }
      Step<R, T, false>(padded[0], kStep, 0, x + full * T, acc);
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; t += 2) {
#pragma GCC unroll 4
      for (int r = 0; r < R; r += 2) {
        const F32x8 halves = acc[t / 2][r / 2];
        float sums[2][2];  // [row, token]
        svst1_f32(svptrue_pat_b32(SV_VL4), sums[0],
                  svadd_f32_x(svptrue_b32(), halves, svext_f32(halves, halves, 4)));
        for (int i = 0; i < 4; ++i) {
          const int token = t + i % 2, row = r + i / 2;
          if (token >= T || row >= R) continue;
          float& to = y[token * y_ld + row];
          to = first ? sums[i / 2][i % 2] : to + sums[i / 2][i % 2];
        }
      }
    }
  }
};

}  // namespace

void AddSveKernels(CpuKernels& kernels) {
  kernels.dot[static_cast<int>(DType::kBF16)] = {DotBf16::kTokens, DotBf16::Pack, sizeof(uint16_t),
                                                 RunDotPanel<DotBf16>};
  for (const CacheFormat format : {CacheFormat::kBf16, CacheFormat::kInt8}) {
    kernels.attention[static_cast<int>(format)] = SveAttention(format);
  }
}

}  // namespace latentd
