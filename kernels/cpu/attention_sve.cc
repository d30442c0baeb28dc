// Absorbed attention of the sve path: bfdot for the scores, straight from the cache rows, and for
// P·C over pairs of tokens, from a copy of the tile in which two rows are interleaved. How bfdot
// rounds: sve.cc.
//
// Prepared tile: [row_latent / 32][32 pairs][32 lanes], a lane being (c of the even token, c of the
// odd token). 32 lanes of 32 pairs are 4 KiB: they stay in the first-level cache for all heads.
//
// An int8 tile is converted to bf16 as it is interleaved, and the converted rows [c | kR] stand
// behind: the scores take those for the cache's.
#include <cstring>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/sve_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

constexpr int64_t kBlockLanes = 32;
constexpr int64_t kBlockWords = kTileTokens / 2 * kBlockLanes;  // 32-bit words of a block of lanes

// What does not depend on the format of the cache.
struct Bf16Products : OpsSve {
  using Operand = Bf16x16;
  using Query = uint16_t;
  using Element = uint16_t;
  using Probability = uint16_t;
  static constexpr int kStep = 16;
  static constexpr int kHeads = 4;

  static void PackStep(const float* q, uint16_t* to) { svst1_u16(svptrue_b16(), to, RoundBf16(q)); }
  static U16x16 LoadWords(const uint16_t* from) { return svld1_u16(svptrue_b16(), from); }
  static Bf16x16 LoadQ(const uint16_t* q) { return svreinterpret_bf16_u16(LoadWords(q)); }
  static Bf16x16 LoadC(const uint16_t* c) { return LoadQ(c); }
  static Bf16x16 LoadCTail(const uint16_t* c, int64_t n) {
    return svreinterpret_bf16_u16(svld1_u16(svwhilelt_b16_s64(0, n), c));
  }
  static F32x8 Dot(F32x8 acc, Bf16x16 a, Bf16x16 b) { return svbfdot_f32(acc, a, b); }
  static void StoreP(F32x8 p, uint16_t* to) {
    svst1h_u32(svptrue_b32(), to, svlsr_n_u32_x(svptrue_b32(), svreinterpret_u32_f32(p), 16));
  }

  static int64_t PairsBytes(const AttentionShape& shape) {
    return shape.row_latent / kBlockLanes * kBlockWords * 4;
  }
  // 16 lanes from `lane` on of the pair of tokens t and t + 1, t even.
  static void StorePair(int64_t t, int64_t lane, U16x16 even, U16x16 odd, void* prepared) {
    auto* to = reinterpret_cast<uint16_t*>(static_cast<uint32_t*>(prepared) +
                                           lane / kBlockLanes * kBlockWords + t / 2 * kBlockLanes +
                                           lane % kBlockLanes);
    svst1_u16(svptrue_b16(), to, svzip1_u16(even, odd));
    svst1_u16(svptrue_b16(), to + 16, svzip2_u16(even, odd));
  }
  static void Accumulate(const AttentionShape& shape, int64_t num_tokens, const void* prepared,
                         const uint16_t* p, const float* corrections, float* acc,
                         Prefetcher& prefetch);
  static void Finish(const AttentionShape& shape, const AttentionState& state, float* out,
                     int64_t ld);
};

// sums[h][v] += p[h] · c[v] for one pair of tokens, or the even one of it.
template <bool kHasOdd>
[[gnu::always_inline]] inline void AddPair(const uint16_t* c, const uint16_t* const (&p)[4],
                                           int64_t pair, F32x8 (&sums)[4][4]) {
  Bf16x16 lanes[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    const svbool_t wanted = kHasOdd ? svptrue_b16() : svptrue_b32();  // true in even elements
    lanes[v] = svreinterpret_bf16_u16(svld1_u16(wanted, c + (pair * kBlockLanes + v * 8) * 2));
  }
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) {
    uint32_t word;
    std::memcpy(&word, p[h] + pair * 2, sizeof word);
    const Bf16x16 weights = svreinterpret_bf16_u32(svdup_n_u32(word));
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sums[h][v] = Bf16Products::Dot(sums[h][v], weights, lanes[v]);
  }
}

// acc[h, :] = acc[h, :] · corrections[h] + Σ_t p[h, t] · c_t. The last heads may be computed twice.
// When the number of tokens is odd, the other half of the last pair is not read: it may belong to a
// later query.
void Bf16Products::Accumulate(const AttentionShape& shape, int64_t num_tokens, const void* prepared,
                              const uint16_t* p, const float* corrections, float* acc,
                              Prefetcher& prefetch) {
  for (int64_t lane = 0; lane < shape.row_latent; lane += kBlockLanes) {
    const auto* c = reinterpret_cast<const uint16_t*>(static_cast<const uint32_t*>(prepared) +
                                                      lane / kBlockLanes * kBlockWords);
    for (int64_t h0 = 0; h0 < shape.num_heads; h0 += kHeads) {
      const uint16_t* p_rows[kHeads];
      float* acc_rows[kHeads];
      F32x8 sums[kHeads][4];
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        const int64_t head = h0 + h < shape.num_heads ? h0 + h : shape.num_heads - 1;
        p_rows[h] = p + head * kTileTokens;
        acc_rows[h] = acc + head * shape.row_latent + lane;
        const F32x8 correction = Set1(corrections[head]);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sums[h][v] = Mul(Load(acc_rows[h] + v * 8), correction);
      }
      for (int64_t pair = 0; pair < num_tokens / 2; ++pair) AddPair<true>(c, p_rows, pair, sums);
      if (num_tokens % 2 != 0) AddPair<false>(c, p_rows, num_tokens / 2, sums);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) Store(acc_rows[h] + v * 8, sums[h][v]);
      }
      prefetch.Advance();
    }
  }
}

void Bf16Products::Finish(const AttentionShape& shape, const AttentionState& state, float* out,
                          int64_t ld) {
  for (int64_t h = 0; h < shape.num_heads; ++h) {
    const F32x8 sum = Set1(state.sum[h]);
    const float* acc = state.acc + h * shape.row_latent;
    for (int64_t j = 0; j < shape.row_latent; j += kLanes) {
      Store(out + h * ld + j, Div(Load(acc + j), sum));
    }
  }
}

struct AttentionBf16 : Bf16Products {
  static constexpr CacheFormat kFormat = CacheFormat::kBf16;

  static const uint16_t* CRow(const AttentionShape&, const AttentionTile& tile, const void*,
                              int64_t token) {
    return reinterpret_cast<const uint16_t*>(tile.rows + token * tile.row_bytes);
  }
  static int64_t PreparedBytes(const AttentionShape& shape) { return PairsBytes(shape); }

  static void Prepare(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
                      void* prepared) {
    for (int64_t t = 0; t < num_tokens; t += 2) {
      const uint16_t* even = CRow(shape, tile, nullptr, t);
      const bool has_odd = t + 1 < num_tokens;
      const uint16_t* odd = has_odd ? CRow(shape, tile, nullptr, t + 1) : even;
      for (int64_t lane = 0; lane < shape.row_latent; lane += 16) {
        StorePair(t, lane, LoadWords(even + lane), LoadWords(odd + lane), prepared);
      }
    }
  }
};

struct AttentionInt8 : Bf16Products {
  static constexpr CacheFormat kFormat = CacheFormat::kInt8;

  static uint16_t* Row(const AttentionShape& shape, void* prepared, int64_t token) {
    auto* rows = reinterpret_cast<uint16_t*>(static_cast<std::byte*>(prepared) + PairsBytes(shape));
    return rows + token * QueryWidth<AttentionInt8>(shape);
  }
  static const uint16_t* CRow(const AttentionShape& shape, const AttentionTile&,
                              const void* prepared, int64_t token) {
    return Row(shape, const_cast<void*>(prepared), token);
  }
  static int64_t PreparedBytes(const AttentionShape& shape) {
    return PairsBytes(shape) + kTileTokens * QueryWidth<AttentionInt8>(shape) * 2;
  }

  // 16 numbers as bf16, exactly; stored too.
  static U16x16 Convert(const int8_t* c, uint16_t* to) {
    const U16x16 numbers = RoundBf16(Widen(c), Widen(c + 8));
    svst1_u16(svptrue_b16(), to, numbers);
    return numbers;
  }

  static void Prepare(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
                      void* prepared) {
    for (int64_t t = 0; t < num_tokens; t += 2) {
      const int64_t last = t + 1 < num_tokens ? t + 1 : t;
      const auto* even = reinterpret_cast<const int8_t*>(tile.rows + t * tile.row_bytes);
      const auto* odd = reinterpret_cast<const int8_t*>(tile.rows + last * tile.row_bytes);
      uint16_t* even_row = Row(shape, prepared, t);
      uint16_t* odd_row = Row(shape, prepared, last);
      for (int64_t lane = 0; lane < shape.row_latent; lane += 16) {
        StorePair(t, lane, Convert(even + lane, even_row + lane),
                  Convert(odd + lane, odd_row + lane), prepared);
      }
      const auto rope_bytes = static_cast<size_t>(shape.rope_dim) * 2;
      std::memcpy(even_row + shape.row_latent, even + shape.row_latent, rope_bytes);
      std::memcpy(odd_row + shape.row_latent, odd + shape.row_latent, rope_bytes);
    }
  }
};

}  // namespace

AttentionKernels SveAttention(CacheFormat format) {
  return format == CacheFormat::kInt8 ? AttentionKernelsFor<AttentionInt8>()
                                      : AttentionKernelsFor<AttentionBf16>();
}

}  // namespace latentd
