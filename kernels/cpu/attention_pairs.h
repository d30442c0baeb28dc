// P·C of bf16 products that add two tokens at a time, and the copy of a tile that it reads: the
// part of attention_tile.h's Arch that such paths share. Internal linkage, as dot_tile.h.
//
// Prepared tile: [row_latent / B][32 pairs][B], B = 4 · kLanes, an entry being (c of the even
// token, c of the odd token) of one lane. 32 pairs of B lanes stay in the first-level cache for all
// heads. An int8 tile is converted to bf16 as it is interleaved, and the converted rows [c | kR]
// stand behind: the scores take those for the cache's.
//
// Path supplies what attention_tile.h asks for beside this (its vector operations, Operand, kStep =
// 2 · kLanes, PackStep, LoadQ, LoadC, LoadCTail, Dot, StoreP, Finish), Words (a register of kStep
// bf16) and
//   LoadWords(const uint16_t*), StoreWords(uint16_t*, Words)
//   Convert(const int8_t*)                  kStep numbers as bf16, exactly
//   StorePair(uint32_t*, Words, Words)      kStep lanes of an even and an odd token
//   LoadPair<kHasOdd>(const uint32_t*)      kLanes of them; without odd, zeros in its place
//   SetPair(uint32_t)                       one pair in every lane
#pragma once

#include <cstring>

#include "kernels/cpu/attention_tile.h"

namespace latentd {
namespace {

template <class Path>
struct PairedProducts : Path {
  using typename Path::Operand;
  using typename Path::Vec;
  using Query = uint16_t;
  using Element = uint16_t;
  using Probability = uint16_t;
  static constexpr int kHeads = 4;
  static constexpr int64_t kBlockLanes = 4 * Path::kLanes;
  static constexpr int64_t kBlockWords = kTileTokens / 2 * kBlockLanes;  // of a block of lanes
  static_assert(Path::kStep == 2 * Path::kLanes);

  static int64_t PairsBytes(const AttentionShape& shape) {
    return shape.row_latent / kBlockLanes * kBlockWords * 4;
  }
  // Lane `lane` of the pair of tokens t and t + 1, t even.
  static uint32_t* PairAt(int64_t t, int64_t lane, void* prepared) {
    return static_cast<uint32_t*>(prepared) + lane / kBlockLanes * kBlockWords +
           t / 2 * kBlockLanes + lane % kBlockLanes;
  }

  // sums[h][v] += p[h] · c[v] for one pair of tokens, or the even one of it.
  template <bool kHasOdd>
  [[gnu::always_inline]] static void AddPair(const uint32_t* c, const uint16_t* const (&p)[kHeads],
                                             int64_t pair, Vec (&sums)[kHeads][4]) {
    Operand lanes[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      lanes[v] = Path::template LoadPair<kHasOdd>(c + pair * kBlockLanes + v * Path::kLanes);
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      uint32_t word;
      std::memcpy(&word, p[h] + pair * 2, sizeof word);
      const Operand weights = Path::SetPair(word);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) sums[h][v] = Path::Dot(sums[h][v], weights, lanes[v]);
    }
  }

  // acc[h, :] = acc[h, :] · corrections[h] + Σ_t p[h, t] · c_t. The last heads may be computed
  // twice. When the number of tokens is odd, the other half of the last pair does not count: it may
  // belong to a later query.
  static void Accumulate(const AttentionShape& shape, int64_t num_tokens, const void* prepared,
                         const uint16_t* p, const float* corrections, float* acc,
                         Prefetcher& prefetch) {
    for (int64_t lane = 0; lane < shape.row_latent; lane += kBlockLanes) {
      const auto* c = static_cast<const uint32_t*>(prepared) + lane / kBlockLanes * kBlockWords;
      for (int64_t h0 = 0; h0 < shape.num_heads; h0 += kHeads) {
        const uint16_t* p_rows[kHeads];
        float* acc_rows[kHeads];
        Vec sums[kHeads][4];
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) {
          const int64_t head = h0 + h < shape.num_heads ? h0 + h : shape.num_heads - 1;
          p_rows[h] = p + head * kTileTokens;
          acc_rows[h] = acc + head * shape.row_latent + lane;
          const Vec correction = Path::Set1(corrections[head]);
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) {
            sums[h][v] = Path::Mul(Path::Load(acc_rows[h] + v * Path::kLanes), correction);
          }
        }
        for (int64_t pair = 0; pair < num_tokens / 2; ++pair) AddPair<true>(c, p_rows, pair, sums);
        if (num_tokens % 2 != 0) AddPair<false>(c, p_rows, num_tokens / 2, sums);
#pragma GCC unroll 4
        for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) Path::Store(acc_rows[h] + v * Path::kLanes, sums[h][v]);
        }
        prefetch.Advance();
      }
    }
  }
};

template <class Path>
struct PairsOfBf16 : PairedProducts<Path> {
  using Base = PairedProducts<Path>;
  static constexpr CacheFormat kFormat = CacheFormat::kBf16;

  static const uint16_t* CRow(const AttentionShape&, const AttentionTile& tile, const void*,
                              int64_t token) {
    return reinterpret_cast<const uint16_t*>(tile.rows + token * tile.row_bytes);
  }
  static int64_t PreparedBytes(const AttentionShape& shape) { return Base::PairsBytes(shape); }

  static void Prepare(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
                      void* prepared) {
    for (int64_t t = 0; t < num_tokens; t += 2) {
      const uint16_t* even = CRow(shape, tile, nullptr, t);
      const bool has_odd = t + 1 < num_tokens;
      const uint16_t* odd = has_odd ? CRow(shape, tile, nullptr, t + 1) : even;
      for (int64_t lane = 0; lane < shape.row_latent; lane += Path::kStep) {
        Path::StorePair(Base::PairAt(t, lane, prepared), Path::LoadWords(even + lane),
                        Path::LoadWords(odd + lane));
      }
    }
  }
};

template <class Path>
struct PairsOfInt8 : PairedProducts<Path> {
  using Base = PairedProducts<Path>;
  using Words = typename Path::Words;
  static constexpr CacheFormat kFormat = CacheFormat::kInt8;

  static uint16_t* Row(const AttentionShape& shape, void* prepared, int64_t token) {
    auto* rows =
        reinterpret_cast<uint16_t*>(static_cast<std::byte*>(prepared) + Base::PairsBytes(shape));
    return rows + token * QueryWidth<PairsOfInt8>(shape);
  }
  static const uint16_t* CRow(const AttentionShape& shape, const AttentionTile&,
                              const void* prepared, int64_t token) {
    return Row(shape, const_cast<void*>(prepared), token);
  }
  static int64_t PreparedBytes(const AttentionShape& shape) {
    return Base::PairsBytes(shape) + kTileTokens * QueryWidth<PairsOfInt8>(shape) * 2;
  }

  static void Prepare(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
                      void* prepared) {
    const auto convert = [](const int8_t* c, uint16_t* to) {
      const Words numbers = Path::Convert(c);
      Path::StoreWords(to, numbers);
      return numbers;
    };
    for (int64_t t = 0; t < num_tokens; t += 2) {
      const int64_t last = t + 1 < num_tokens ? t + 1 : t;
      const auto* even = reinterpret_cast<const int8_t*>(tile.rows + t * tile.row_bytes);
      const auto* odd = reinterpret_cast<const int8_t*>(tile.rows + last * tile.row_bytes);
      uint16_t* even_row = Row(shape, prepared, t);
      uint16_t* odd_row = Row(shape, prepared, last);
      for (int64_t lane = 0; lane < shape.row_latent; lane += Path::kStep) {
        const Words first = convert(even + lane, even_row + lane);
        Path::StorePair(Base::PairAt(t, lane, prepared), first,
                        convert(odd + lane, odd_row + lane));
      }
      const auto rope_bytes = static_cast<size_t>(shape.rope_dim) * 2;
      std::memcpy(even_row + shape.row_latent, even + shape.row_latent, rope_bytes);
      std::memcpy(odd_row + shape.row_latent, odd + shape.row_latent, rope_bytes);
    }
  }
};

// The kernels of a path, for either format of the cache.
template <class Path>
AttentionKernels PairedKernels(CacheFormat format) {
  return format == CacheFormat::kInt8 ? AttentionKernelsFor<PairsOfInt8<Path>>()
                                      : AttentionKernelsFor<PairsOfBf16<Path>>();
}

}  // namespace
}  // namespace latentd
