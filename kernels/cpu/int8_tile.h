// Products of int8 or int4 weights (kernels/quantise.h) and int8 tokens: R blocks of 16 rows
// against T tokens, a row in each lane. Included by the path files alone; internal linkage, as
// dot_tile.h.
//
// Within a group Σ q·w is a whole number below 2^24, which int32 holds and fp32 too: exact in any
// order. Lanes add (w + offset)·q, so that they begin at −offset · Σ q. Then, over groups in
// ascending order,
//   y = fma(scale_w · scale_x, Σ q·w, y):
// two roundings a group, and the same bits in every file that says so, whatever its vectors.
//
// What BlockFormat computes is taken at compile time: a path file emits no inline function that
// other files have too (table.h).
//
// Arch supplies kFormat, kRows, kTokens (the tile), kQuadBytes (of four packed numbers), Acc,
// WOperand, XOperand and
//   Start(int32_t)                             every lane
//   LoadW(const std::byte*, int half)          four numbers of 16 rows: of int4, of either half
//   LoadX(const std::byte*)                    four numbers of a token
//   Dot(Acc, WOperand, XOperand)
//   StoreQuad(const int8_t* q, std::byte* to)  as LoadX wants them
//   AddGroup(Acc, const std::byte* w_scales, float x_scale, float* sums)
//
// Tokens are packed in tiles of T, group by group: | T scales, fp32 | T starts, int32 | four
// numbers of token 0 | of token 1 | … | the next four of token 0 | … |
#pragma once

#include <cstring>

#include "kernels/cpu/quantise_tile.h"
#include "kernels/cpu/table.h"
#include "kernels/quantise.h"

namespace latentd {
namespace {

template <class Arch>
constexpr int64_t Int8TokenBytes() {
  return 8 + Arch::kFormat.group / 4 * Arch::kQuadBytes;
}

template <class Arch>
void PackInt8(const float* x, int64_t ld, int64_t count, int64_t k, std::byte* tile) {
  constexpr int64_t kGroup = Arch::kFormat.group;
  constexpr int32_t kOffset = Arch::kFormat.offset();
  for (int64_t k0 = 0; k0 < k; k0 += kGroup, tile += count * Int8TokenBytes<Arch>()) {
    for (int64_t t = 0; t < count; ++t) {
      const float* from = x + t * ld + k0;
      float padded[kGroup] = {};
      if (k - k0 < kGroup) {
        for (int64_t i = 0; i < k - k0; ++i) padded[i] = from[i];
        from = padded;
      }
      int8_t q[kGroup];
      const QuantisedGroup group = QuantiseToInt8(from, kGroup, q);
      const int32_t start = -kOffset * group.sum;
      std::memcpy(tile + t * 4, &group.scale, 4);
      std::memcpy(tile + (count + t) * 4, &start, 4);
      std::byte* quad = tile + count * 8 + t * Arch::kQuadBytes;
      for (int64_t i = 0; i < kGroup; i += 4, quad += count * Arch::kQuadBytes) {
        Arch::StoreQuad(q + i, quad);
      }
    }
  }
}

// One group: sums[t][r] are 16 lanes each.
template <class Arch, int R, int T>
inline void AddInt8Group(const std::byte* w, int64_t w_stride, const std::byte* x,
                         float (*sums)[R][kBlockRows]) {
  float scales[T];
  int32_t starts[T];
  std::memcpy(scales, x, sizeof scales);
  std::memcpy(starts, x + sizeof scales, sizeof starts);
  const std::byte* quads = x + T * 8;
  typename Arch::Acc acc[T][R];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[t][r] = Arch::Start(starts[t]);
  }
  constexpr int64_t kHalves = Arch::kFormat.halves(), kNumbers = Arch::kFormat.numbers_at();
  const std::byte* line = w + kNumbers;
#pragma GCC unroll 1  // whole groups of int4 would spill accumulators
  for (int64_t k = 0; k < Arch::kFormat.group; k += 4 * kHalves, line += kBlockRows * 4) {
#pragma GCC unroll 2
    for (int half = 0; half < kHalves; ++half, quads += T * Arch::kQuadBytes) {
      typename Arch::WOperand w_quad[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) w_quad[r] = Arch::LoadW(line + r * w_stride, half);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const typename Arch::XOperand x_quad = Arch::LoadX(quads + t * Arch::kQuadBytes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) acc[t][r] = Arch::Dot(acc[t][r], w_quad[r], x_quad);
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) Arch::AddGroup(acc[t][r], w + r * w_stride, scales[t], sums[t][r]);
  }
}

// The lanes of a block that the panel wants.
inline void StoreInt8Block(const Int8Panel& panel, int64_t block, int64_t token,
                           const float* sums) {
  const int64_t first = block * kBlockRows - panel.skipped_rows;
  float* const y = panel.y + token * panel.y_ld;
  const int64_t begin = first < 0 ? -first : 0;
  const int64_t end = panel.num_rows - first < kBlockRows ? panel.num_rows - first : kBlockRows;
  for (int64_t i = begin; i < end; ++i) {
    y[first + i] = panel.bias != nullptr ? sums[i] + panel.bias[first + i] : sums[i];
  }
}

// R blocks of rows against the `count` <= T tokens of a tile.
template <class Arch, int R, int T>
void RunInt8Tile(const Int8Panel& panel, int64_t block, int64_t token, int64_t count) {
  if constexpr (T > 1) {
    if (count < T) return RunInt8Tile<Arch, R, T - 1>(panel, block, token, count);
  }
  constexpr int64_t kBlockBytes = Arch::kFormat.block_bytes();
  const int64_t stride = panel.blocks_per_row * kBlockBytes;
  const std::byte* w = panel.w + block * stride;
  const std::byte* x = panel.x + token * panel.num_groups * Int8TokenBytes<Arch>();
  alignas(64) float sums[T][R][kBlockRows] = {};
  for (int64_t g = 0; g < panel.num_groups; ++g) {
    AddInt8Group<Arch, R, T>(w, stride, x, sums);
    w += kBlockBytes;
    x += T * Int8TokenBytes<Arch>();
  }
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < R; ++r) StoreInt8Block(panel, block + r, token + t, sums[t][r]);
  }
}

template <class Arch, int R>
void RunInt8Rows(const Int8Panel& panel, int64_t block) {
  for (int64_t token = 0; token < panel.num_tokens; token += panel.tile_tokens) {
    const int64_t left = panel.num_tokens - token;
    RunInt8Tile<Arch, R, Arch::kTokens>(panel, block, token,
                                        left < panel.tile_tokens ? left : panel.tile_tokens);
  }
}

template <class Arch>
void RunInt8Panel(const Int8Panel& panel) {
  const int64_t blocks = (panel.skipped_rows + panel.num_rows + kBlockRows - 1) / kBlockRows;
  int64_t block = 0;
  for (; block + Arch::kRows <= blocks; block += Arch::kRows) {
    RunInt8Rows<Arch, Arch::kRows>(panel, block);
  }
  for (; block < blocks; ++block) RunInt8Rows<Arch, 1>(panel, block);
}

template <class Arch>
constexpr Int8Kernels Int8KernelsFor() {
  return {Arch::kRows, Arch::kTokens, Int8TokenBytes<Arch>(), PackInt8<Arch>, RunInt8Panel<Arch>};
}

}  // namespace
}  // namespace latentd
