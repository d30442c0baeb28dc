// Absorbed attention of the avx512-bf16 path: vdpbf16ps for the scores, straight from the cache
// rows, and for P·C over pairs of tokens, from a copy of the tile in which two rows are
// interleaved.
//
// Prepared tile: [row_latent / 64][32 pairs][4 registers], a register being 16 times (c of the even
// token, c of the odd token). Registers 0 and 1 come from 32 neighbouring lanes, in the order that
// interleaving within 128-bit quarters leaves: 0 holds lanes 8·i + 0 … 3, 1 holds lanes 8·i + 4 …
// 7; 2 and 3 likewise. Accumulators keep that order until Finish. 64 lanes of 32 pairs are 8 KiB:
// they stay in the first-level cache for all heads.
//
// An int8 tile is converted to bf16 as it is interleaved, and the converted rows [c | kR] stand
// behind: the scores take those for the cache's.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/avx512_common.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

constexpr int64_t kBlockLanes = 64;
constexpr int64_t kBlockWords = kTileTokens / 2 * kBlockLanes;  // 32-bit words of a block of lanes

// What does not depend on the format of the cache.
struct Bf16Products : Ops512 {
  using Operand = __m512i;
  using Query = uint16_t;
  using Element = uint16_t;
  using Probability = uint16_t;
  static constexpr int kStep = 32;
  static constexpr int kHeads = 4;

  static void PackStep(const float* q, uint16_t* to) {
    StoreP(_mm512_loadu_ps(q), to);
    StoreP(_mm512_loadu_ps(q + 16), to + 16);
  }
  static __m512i LoadQ(const uint16_t* q) { return _mm512_loadu_si512(q); }
  static __m512i LoadC(const uint16_t* c) { return _mm512_loadu_si512(c); }
  static __m512i LoadCTail(const uint16_t* c, int64_t n) {
    return n >= kStep ? LoadC(c) : _mm512_maskz_loadu_epi16((1u << n) - 1, c);
  }
  static __m512 Dot(__m512 acc, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
  }
  static void StoreP(__m512 p, uint16_t* to) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), RoundBf16(p));
  }

  static int64_t PairsBytes(const AttentionShape& shape) {
    return shape.row_latent / kBlockLanes * kBlockWords * 4;
  }
  // 32 lanes from `lane` on of the pair of tokens t and t + 1, t even.
  static void StorePair(int64_t t, int64_t lane, __m512i even, __m512i odd, void* prepared) {
    uint32_t* to = static_cast<uint32_t*>(prepared) + lane / kBlockLanes * kBlockWords +
                   t / 2 * kBlockLanes + lane % kBlockLanes;
    _mm512_store_si512(to, _mm512_unpacklo_epi16(even, odd));
    _mm512_store_si512(to + 16, _mm512_unpackhi_epi16(even, odd));
  }
  static void Accumulate(const AttentionShape& shape, int64_t num_tokens, const void* prepared,
                         const uint16_t* p, const float* corrections, float* acc,
                         Prefetcher& prefetch);
  static void Finish(const AttentionShape& shape, const AttentionState& state, float* out,
                     int64_t ld);
};

// sums[h][v] += p[h] · c[v] for one pair of tokens.
inline void AddPair(const uint32_t* c, const uint32_t* const (&p)[4], int64_t pair, __m512i keep,
                    __m512 (&sums)[4][4]) {
  __m512i lanes[4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    lanes[v] = _mm512_and_si512(_mm512_load_si512(c + pair * kBlockLanes + v * 16), keep);
  }
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) {
    const __m512i weights = _mm512_set1_epi32(static_cast<int>(p[h][pair]));
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sums[h][v] = Bf16Products::Dot(sums[h][v], weights, lanes[v]);
  }
}

// acc[h, :] = acc[h, :] · corrections[h] + Σ_t p[h, t] · c_t. The last heads may be computed twice.
// When the number of tokens is odd, the other half of the last pair is cleared: it may belong to a
// later query.
void Bf16Products::Accumulate(const AttentionShape& shape, int64_t num_tokens, const void* prepared,
                              const uint16_t* p, const float* corrections, float* acc,
                              Prefetcher& prefetch) {
  const __m512i everything = _mm512_set1_epi32(-1);
  const __m512i even_only = _mm512_set1_epi32(0xffff);
  for (int64_t lane = 0; lane < shape.row_latent; lane += kBlockLanes) {
    const auto* c = static_cast<const uint32_t*>(prepared) + lane / kBlockLanes * kBlockWords;
    for (int64_t h0 = 0; h0 < shape.num_heads; h0 += kHeads) {
      const uint32_t* p_rows[kHeads];
      float* acc_rows[kHeads];
      __m512 sums[kHeads][4];
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
        const int64_t head = h0 + h < shape.num_heads ? h0 + h : shape.num_heads - 1;
        p_rows[h] = reinterpret_cast<const uint32_t*>(p + head * kTileTokens);
        acc_rows[h] = acc + head * shape.row_latent + lane;
        const __m512 correction = Set1(corrections[head]);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sums[h][v] = Mul(Load(acc_rows[h] + v * 16), correction);
      }
      for (int64_t pair = 0; pair < num_tokens / 2; ++pair)
        AddPair(c, p_rows, pair, everything, sums);
      if (num_tokens % 2 != 0) AddPair(c, p_rows, num_tokens / 2, even_only, sums);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) Store(acc_rows[h] + v * 16, sums[h][v]);
      }
      prefetch.Advance();
    }
  }
}

void Bf16Products::Finish(const AttentionShape& shape, const AttentionState& state, float* out,
                          int64_t ld) {
  for (int64_t h = 0; h < shape.num_heads; ++h) {
    const __m512 sum = Set1(state.sum[h]);
    const float* acc = state.acc + h * shape.row_latent;
    for (int64_t j = 0; j < shape.row_latent; j += 32) {
      const __m512 low = Div(Load(acc + j), sum);
      const __m512 high = Div(Load(acc + j + 16), sum);
      const __m512i first =
          _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
      const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
      Store(out + h * ld + j, _mm512_permutex2var_ps(low, first, high));
      Store(out + h * ld + j + 16, _mm512_permutex2var_ps(low, second, high));
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
      for (int64_t lane = 0; lane < shape.row_latent; lane += 32) {
        StorePair(t, lane, LoadC(even + lane), LoadC(odd + lane), prepared);
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

  // 32 numbers as bf16, exactly; stored too.
  static __m512i Convert(const int8_t* c, uint16_t* to) {
    const auto numbers = (__m512i)_mm512_cvtne2ps_pbh(Widen(c + 16), Widen(c));
    _mm512_storeu_si512(to, numbers);
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
      for (int64_t lane = 0; lane < shape.row_latent; lane += 32) {
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

AttentionKernels Avx512Bf16Attention(CacheFormat format) {
  return format == CacheFormat::kInt8 ? AttentionKernelsFor<AttentionInt8>()
                                      : AttentionKernelsFor<AttentionBf16>();
}

}  // namespace latentd
