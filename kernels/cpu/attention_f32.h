// The attention of the paths without bf16 products: a tile is widened to fp32 once, and serves both
// the scores and P·C of every head. Included by attention_avx2.cc and attention_avx512.cc; internal
// linkage.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cpu/attention_tile.h"

namespace latentd {
namespace {

// Ops: Ops128, Ops256 or Ops512. kNumHeads × 4 registers are carried in either product.
template <class Ops, int kNumHeads, CacheFormat kCacheFormat>
struct AttentionF32 : Ops {
  static constexpr CacheFormat kFormat = kCacheFormat;
  using Vec = typename Ops::Vec;
  using Operand = Vec;
  using Query = float;
  using Element = float;
  using Probability = float;
  static constexpr int kStep = Ops::kLanes;
  static constexpr int kHeads = kNumHeads;

  static void PackStep(const float* q, float* to) { Ops::Store(to, Ops::RoundP(Ops::Load(q))); }
  static Vec LoadQ(const float* q) { return Ops::Load(q); }
  static Vec LoadC(const float* c) { return Ops::Load(c); }
  static Vec LoadCTail(const float* c, int64_t) { return Ops::Load(c); }  // zero-padded by Prepare
  static Vec Dot(Vec acc, Vec q, Vec c) { return Ops::MulAdd(acc, q, c); }
  static void StoreP(Vec p, float* to) { Ops::Store(to, p); }

  // Sixteen floats of padding keep rows of 512 from falling into the same cache sets.
  static int64_t Pitch(const AttentionShape& shape) { return QueryWidth<AttentionF32>(shape) + 16; }
  static int64_t PreparedBytes(const AttentionShape& shape) {
    return kTileTokens * Pitch(shape) * static_cast<int64_t>(sizeof(float));
  }
  static const float* CRow(const AttentionShape& shape, const AttentionTile&, const void* prepared,
                           int64_t token) {
    return static_cast<const float*>(prepared) + token * Pitch(shape);
  }

  static void Prepare(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
                      void* prepared) {
    using Latent = std::conditional_t<kFormat == CacheFormat::kInt8, int8_t, uint16_t>;
    for (int64_t t = 0; t < num_tokens; ++t) {
      const auto* c = reinterpret_cast<const Latent*>(tile.rows + t * tile.row_bytes);
      const auto* rope = reinterpret_cast<const uint16_t*>(c + shape.row_latent);
      float* to = static_cast<float*>(prepared) + t * Pitch(shape);
      for (int64_t i = 0; i < shape.row_latent; i += kStep) Ops::Store(to + i, Ops::Widen(c + i));
      to += shape.row_latent;
      int64_t i = 0;
      for (; i + kStep <= shape.rope_dim; i += kStep) Ops::Store(to + i, Ops::Widen(rope + i));
      if (i == shape.rope_dim) continue;
      uint16_t padded[kStep] = {};
      for (int64_t j = 0; i + j < shape.rope_dim; ++j) padded[j] = rope[i + j];
      Ops::Store(to + i, Ops::Widen(padded));
    }
  }

  // acc[h, :] = acc[h, :] · corrections[h] + Σ_t p[h, t] · c_t. Lanes outside, heads inside: the
  // lanes of 64 tokens stay in the first-level cache for all heads. The last heads may be computed
  // twice.
  static void Accumulate(const AttentionShape& shape, int64_t num_tokens, const void* prepared,
                         const float* p, const float* corrections, float* acc,
                         Prefetcher& prefetch) {
    for (int64_t lane = 0; lane < shape.row_latent; lane += 4 * Ops::kLanes) {
      for (int64_t h0 = 0; h0 < shape.num_heads; h0 += kHeads) {
        const float* c = static_cast<const float*>(prepared) + lane;
        const float* p_rows[kHeads];
        float* acc_rows[kHeads];
        Vec sums[kHeads][4];
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) {
          const int64_t head = h0 + h < shape.num_heads ? h0 + h : shape.num_heads - 1;
          p_rows[h] = p + head * kTileTokens;
          acc_rows[h] = acc + head * shape.row_latent + lane;
          const Vec correction = Ops::Set1(corrections[head]);
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) {
            sums[h][v] = Ops::Mul(Ops::Load(acc_rows[h] + v * Ops::kLanes), correction);
          }
        }
        for (int64_t t = 0; t < num_tokens; ++t, c += Pitch(shape)) {
          Vec lanes[4];
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) lanes[v] = Ops::Load(c + v * Ops::kLanes);
#pragma GCC unroll 4
          for (int h = 0; h < kHeads; ++h) {
            const Vec weight = Ops::Set1(p_rows[h][t]);
#pragma GCC unroll 4
            for (int v = 0; v < 4; ++v) sums[h][v] = Ops::MulAdd(sums[h][v], weight, lanes[v]);
          }
        }
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) Ops::Store(acc_rows[h] + v * Ops::kLanes, sums[h][v]);
        }
        prefetch.Advance();
      }
    }
  }

  static void Finish(const AttentionShape& shape, const AttentionState& state, float* out,
                     int64_t ld) {
    for (int64_t h = 0; h < shape.num_heads; ++h) {
      const Vec sum = Ops::Set1(state.sum[h]);
      const float* acc = state.acc + h * shape.row_latent;
      for (int64_t j = 0; j < shape.row_latent; j += Ops::kLanes) {
        Ops::Store(out + h * ld + j, Ops::Div(Ops::Load(acc + j), sum));
      }
    }
  }
};

template <class Ops, int kNumHeads>
AttentionKernels AttentionF32For(CacheFormat format) {
  return format == CacheFormat::kInt8
             ? AttentionKernelsFor<AttentionF32<Ops, kNumHeads, CacheFormat::kInt8>>()
             : AttentionKernelsFor<AttentionF32<Ops, kNumHeads, CacheFormat::kBf16>>();
}

}  // namespace
}  // namespace latentd
