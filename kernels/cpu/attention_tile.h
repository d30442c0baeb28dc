// Absorbed attention on one tile of 64 tokens, for every head of a query token. Included by the
// attention path files alone; internal linkage, as dot_tile.h.
//
// Arch supplies vector operations (Ops512, Ops256) and
//   Query, Element, Probability     elements of a packed query, of a scored token and of p
//   kFormat                         of c in the cache
//   Operand, kStep, kHeads          register and elements of a step, heads of a score tile
//   PackStep, LoadQ, LoadC, Dot     one step of a score; LoadCTail may read only the n elements
//   left CRow(shape, tile, prepared, t)  where the score finds token t SumTile(acc, s) the fixed
//   tree: s[h][t] = sum of acc[h][t] RoundP, StoreP                  p rounded to bf16, and stored
//   as P·C wants it Prepare, PreparedBytes, Accumulate, Finish   the path's form of C and of the
//   accumulators
#pragma once

#include <cstdint>

#include "kernels/core/cache_format.h"
#include "kernels/core/rounding.h"
#include "kernels/cpu/attention_table.h"

namespace latentd {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

// Fetches the next tile evenly: in bursts it would hold up the loads of this one.
struct Prefetcher {
  const std::byte* next;
  const std::byte* end;
  int64_t bytes_per_call;

  Prefetcher(const AttentionTile& tile, int64_t num_calls)
      : next(tile.next),
        end(tile.next + tile.next_bytes),
        bytes_per_call(RoundUp(tile.next_bytes / num_calls, 64) + 64) {}
  void Advance() {
    if (next == nullptr) return;
    const std::byte* stop = next + bytes_per_call < end ? next + bytes_per_call : end;
    for (; next < stop; next += 64) __builtin_prefetch(next, 0, 2);
  }
};

// The scales of a tile's tokens that take part, and their inverses; the others count as 1, so that
// nothing of theirs is read. Of an int8 cache alone; otherwise empty.
template <class Arch, bool kHasScales = Arch::kFormat == CacheFormat::kInt8>
struct TokenScales {
  TokenScales(const AttentionTile&, int64_t) {}
};

template <class Arch>
struct TokenScales<Arch, true> {
  TokenScales(const AttentionTile& tile, int64_t num_tokens) {
    for (int64_t t = 0; t < kTileTokens; ++t) {
      const bool counts = t < num_tokens && tile.scales[t] != 0;
      scale[t] = counts ? tile.scales[t] : 1;
      inverse[t] = 1 / scale[t];
    }
  }
  float scale[kTileTokens], inverse[kTileTokens];
};

template <class Arch>
int64_t QueryWidth(const AttentionShape& shape) {
  return shape.row_latent + RoundUp(shape.rope_dim, Arch::kStep);
}

template <class Arch>
int64_t QueryBytes(const AttentionShape& shape) {
  return RoundUp(shape.num_heads * QueryWidth<Arch>(shape) *
                     static_cast<int64_t>(sizeof(typename Arch::Query)),
                 64);
}

template <class Arch>
void PackQuery(const AttentionShape& shape, const float* q, int64_t ld, void* packed) {
  const int64_t width = shape.row_latent + shape.rope_dim;
  auto* to = static_cast<typename Arch::Query*>(packed);
  for (int64_t h = 0; h < shape.num_heads; ++h, q += ld) {
    for (int64_t i = 0; i < QueryWidth<Arch>(shape); i += Arch::kStep, to += Arch::kStep) {
      float padded[Arch::kStep] = {};
      for (int64_t j = 0; j < Arch::kStep && i + j < width; ++j) padded[j] = q[i + j];
      Arch::PackStep(padded, to);
    }
  }
}

// Scores (softmax scale and whole-key α not applied) of kHeads heads and four tokens, the first of
// which is t0.
template <class Arch>
inline void ScoreTile(const AttentionShape& shape,
                      const typename Arch::Query* const (&q)[Arch::kHeads],
                      const typename Arch::Element* const (&c)[4],
                      const float* const (&alphas)[Arch::kHeads][4],
                      const TokenScales<Arch>& scales, int64_t t0,
                      float* const (&s)[Arch::kHeads]) {
  constexpr int kHeads = Arch::kHeads;
  typename Arch::Vec acc[kHeads][4];
  for (int h = 0; h < kHeads; ++h) {
    for (int t = 0; t < 4; ++t) acc[h][t] = Arch::Set1(0);
  }
  const auto step = [&](int64_t i, const typename Arch::Operand(&c_step)[4])
      __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      const typename Arch::Operand q_step = Arch::LoadQ(q[h] + i);
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) acc[h][t] = Arch::Dot(acc[h][t], q_step, c_step[t]);
    }
  };
  int64_t i = 0;
  for (; i < shape.row_latent; i += Arch::kStep) {
    step(i, {Arch::LoadC(c[0] + i), Arch::LoadC(c[1] + i), Arch::LoadC(c[2] + i),
             Arch::LoadC(c[3] + i)});
  }
  if constexpr (Arch::kFormat == CacheFormat::kInt8) {
#pragma GCC unroll 4
    for (int t = 0; t < 4; ++t) {
      const auto scale = Arch::Set1(scales.scale[t0 + t]);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) acc[h][t] = Arch::Mul(acc[h][t], scale);
    }
  }
  if (shape.alpha_use == AlphaUse::kContent) {
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
      for (int t = 0; t < 4; ++t) acc[h][t] = Arch::Mul(acc[h][t], Arch::Set1(*alphas[h][t]));
    }
  }
  const int64_t width = shape.row_latent + shape.rope_dim;
  for (; i < width; i += Arch::kStep) {
    const int64_t n = width - i;
    step(i, {Arch::LoadCTail(c[0] + i, n), Arch::LoadCTail(c[1] + i, n),
             Arch::LoadCTail(c[2] + i, n), Arch::LoadCTail(c[3] + i, n)});
  }
  Arch::SumTile(acc, s);
}

// s[h, t] for all heads and the first num_tokens tokens. A tile at the edge repeats its last head
// or token: the same value is then computed twice, and a slot past the end is never read.
template <class Arch>
void Scores(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
            const void* prepared, const TokenScales<Arch>& scales, const typename Arch::Query* q,
            float* s, Prefetcher& prefetch) {
  constexpr int kHeads = Arch::kHeads;
  const int64_t width = QueryWidth<Arch>(shape);
  for (int64_t t0 = 0; t0 < num_tokens; t0 += 4) {
    const typename Arch::Element* c[4];
    int64_t token[4];
    for (int t = 0; t < 4; ++t) {
      token[t] = t0 + t < num_tokens ? t0 + t : num_tokens - 1;
      c[t] = Arch::CRow(shape, tile, prepared, token[t]);
    }
    for (int64_t h0 = 0; h0 < shape.num_heads; h0 += kHeads) {
      const typename Arch::Query* q_rows[kHeads];
      const float* alphas[kHeads][4] = {};
      float* s_rows[kHeads];
      for (int h = 0; h < kHeads; ++h) {
        const int64_t head = h0 + h < shape.num_heads ? h0 + h : shape.num_heads - 1;
        q_rows[h] = q + head * width;
        s_rows[h] = s + head * kTileTokens + t0;
        if (shape.alpha_use == AlphaUse::kContent) {
          const int64_t group = head * shape.num_groups / shape.num_heads;
          for (int t = 0; t < 4; ++t)
            alphas[h][t] = tile.alphas + token[t] * shape.num_groups + group;
        }
      }
      ScoreTile<Arch>(shape, q_rows, c, alphas, scales, t0, s_rows);
      prefetch.Advance();
    }
  }
}

// Turns one head's raw scores into probabilities relative to the new largest score, rounded to
// bf16, and folds their sum into the state. The sum takes the rounded p, so that a row's weights
// add up to one. With int8, p stands for p times the token's scale, and the sum takes the p of it.
// Returns what the old sum and acc are to be multiplied by.
template <class Arch>
float Softmax(float scale, int64_t num_tokens, const TokenScales<Arch>& token_scales, float* s,
              typename Arch::Probability* p, float& largest, float& sum) {
  using Vec = typename Arch::Vec;
  constexpr int kVecs = kTileTokens / Arch::kLanes;
  for (int64_t t = num_tokens; t < kTileTokens; ++t) s[t] = kMinusInfinity;
  const Vec scales = Arch::Set1(scale);
  Vec scores[kVecs];
  Vec most = Arch::Set1(largest);
#pragma GCC unroll 8
  for (int i = 0; i < kVecs; ++i) {
    scores[i] = Arch::Mul(scales, Arch::Load(s + i * Arch::kLanes));
    most = Arch::Max(most, scores[i]);
  }
  const float new_largest = Arch::MaxLanes(most);
  const Vec shift = Arch::Set1(new_largest);
  Vec total = Arch::Set1(0);
#pragma GCC unroll 8
  for (int i = 0; i < kVecs; ++i) {
    const Vec exact = Arch::Exp(Arch::Sub(scores[i], shift));
    const int64_t first = i * Arch::kLanes;
    if constexpr (Arch::kFormat == CacheFormat::kInt8) {
      const Vec rounded = Arch::RoundP(Arch::Mul(exact, Arch::Load(token_scales.scale + first)));
      total = Arch::Add(total, Arch::Mul(rounded, Arch::Load(token_scales.inverse + first)));
      Arch::StoreP(rounded, p + first);
    } else {
      const Vec rounded = Arch::RoundP(exact);
      total = Arch::Add(total, rounded);
      Arch::StoreP(rounded, p + first);
    }
  }
  const float correction = Arch::First(Arch::Exp(Arch::Set1(largest - new_largest)));
  sum = sum * correction + Arch::SumLanes(total);
  largest = new_largest;
  return correction;
}

template <class Arch>
int64_t ScoreBytes(const AttentionShape& shape) {
  return shape.num_heads * (kTileTokens * static_cast<int64_t>(sizeof(float)) +
                            kTileTokens * static_cast<int64_t>(sizeof(typename Arch::Probability)) +
                            static_cast<int64_t>(sizeof(float)));
}

template <class Arch>
void Attend(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
            const void* prepared, const void* packed_query, void* scores,
            const AttentionState& state) {
  float* s = static_cast<float*>(scores);
  float* corrections = s + shape.num_heads * kTileTokens;
  auto* p = reinterpret_cast<typename Arch::Probability*>(corrections + shape.num_heads);
  const int64_t score_tiles =
      kTileTokens / 4 * ((shape.num_heads + Arch::kHeads - 1) / Arch::kHeads);
  Prefetcher prefetch(tile, score_tiles + score_tiles / 2);
  const TokenScales<Arch> scales(tile, num_tokens);
  Scores<Arch>(shape, tile, num_tokens, prepared, scales,
               static_cast<const typename Arch::Query*>(packed_query), s, prefetch);
  for (int64_t h = 0; h < shape.num_heads; ++h) {
    float* row = s + h * kTileTokens;
    if (shape.alpha_use == AlphaUse::kWhole) {
      const float* alpha = tile.alphas + h * shape.num_groups / shape.num_heads;
      for (int64_t t = 0; t < num_tokens; ++t) row[t] *= alpha[t * shape.num_groups];
    }
    corrections[h] = Softmax<Arch>(shape.scale, num_tokens, scales, row, p + h * kTileTokens,
                                   state.largest[h], state.sum[h]);
  }
  Arch::Accumulate(shape, num_tokens, prepared, p, corrections, state.acc, prefetch);
}

template <class Arch>
void Clear(const AttentionShape& shape, const AttentionState& state) {
  for (int64_t h = 0; h < shape.num_heads; ++h) {
    state.largest[h] = kMinusInfinity;
    state.sum[h] = 0;
  }
  const int64_t count = shape.num_heads * shape.row_latent;
  for (int64_t j = 0; j < count; j += Arch::kLanes) Arch::Store(state.acc + j, Arch::Set1(0));
}

template <class Arch>
void Fold(const AttentionShape& shape, const AttentionState& state, const AttentionState& later) {
  for (int64_t h = 0; h < shape.num_heads; ++h) {
    const float largest = state.largest[h] > later.largest[h] ? state.largest[h] : later.largest[h];
    const auto a = Arch::Exp(Arch::Set1(state.largest[h] - largest));
    const auto b = Arch::Exp(Arch::Set1(later.largest[h] - largest));
    state.largest[h] = largest;
    state.sum[h] = state.sum[h] * Arch::First(a) + later.sum[h] * Arch::First(b);
    float* acc = state.acc + h * shape.row_latent;
    const float* add = later.acc + h * shape.row_latent;
    for (int64_t j = 0; j < shape.row_latent; j += Arch::kLanes) {
      const auto scaled = Arch::Mul(Arch::Load(acc + j), a);
      Arch::Store(acc + j, Arch::MulAdd(scaled, Arch::Load(add + j), b));
    }
  }
}

template <class Arch>
constexpr AttentionKernels AttentionKernelsFor() {
  return {QueryBytes<Arch>, Arch::PreparedBytes, ScoreBytes<Arch>, PackQuery<Arch>, Arch::Prepare,
          Attend<Arch>,     Clear<Arch>,         Fold<Arch>,       Arch::Finish};
}

}  // namespace
}  // namespace latentd
