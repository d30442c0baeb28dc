// The dot tile: a few weight rows against a few packed tokens. Included by the path files alone,
// each of which instantiates it with its own Arch; everything here has internal linkage for that
// reason.
//
// Arch supplies Weight, Packed (element types), Acc, WOperand, XOperand (registers), kStep
// (elements of K a step consumes, a divisor of 2048), kRows, kTokens (the tile), kTallRows,
// kTallTokens (the tile of few tokens, which reads more rows at once) and
//   LoadW(const Weight*), LoadX(const Packed*)   one step of one row or token
//   MulAdd(Acc, WOperand, XOperand)
//   PackStep(const float* x, Packed* to)         one step of a token
//   ReduceRows(const Acc (&)[R], float*)         the fixed tree, for kRows or kTallRows at once
//   Reduce(Acc)                                  the same tree for one
// or, if it has kOwnBlock, a Block<R, T, kFetch, kPartial> in the place of DotBlock, and tiles of
// its own packing: then Weight, Packed, kStep and the tile's sizes are all that is asked of it
// here.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/table.h"

namespace latentd {
namespace {

template <class Arch>
void PackTile(const float* x, int64_t ld, int64_t count, int64_t k, void* tile) {
  auto* to = static_cast<typename Arch::Packed*>(tile);
  for (int64_t k0 = 0; k0 < k; k0 += Arch::kStep) {
    for (int64_t t = 0; t < count; ++t, to += Arch::kStep) {
      const float* from = x + t * ld + k0;
      float padded[Arch::kStep] = {};
      if (k - k0 < Arch::kStep) {
        for (int64_t i = 0; i < k - k0; ++i) padded[i] = from[i];
        from = padded;
      }
      Arch::PackStep(from, to);
    }
  }
}

// Token tiles of a block of rows that fetch the next block of rows while they work. The hardware
// fetches ahead within a page of 4 KiB, about a row, and so begins anew with every row. More tiles
// than these only ask for what is on its way.
constexpr int64_t kFetchingTiles = 4;

// One block of K for R rows and T tokens, y = or y += the block's sum. With kPartial the last step
// is cut: its weights are copied beside zeros, since a load past a row's end could leave the
// mapping. That code alone would keep the accumulators in memory, so it is left out where k is
// whole. With kFetch the same elements of rows `ahead` elements further on move to the L2 cache.
template <class Arch, int R, int T, bool kFetch, bool kPartial>
inline void DotBlock(const typename Arch::Weight* w, int64_t w_ld, int64_t ahead,
                     const typename Arch::Packed* x, int64_t k, bool first, float* y,
                     int64_t y_ld) {
  typename Arch::Acc acc[T][R];
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < R; ++r) acc[t][r] = Arch::Zero();
  }
  const int64_t full = k / Arch::kStep * Arch::kStep;
  for (int64_t i = 0; i < full; i += Arch::kStep) {
#pragma GCC unroll 2
    for (int part = 0; part < Arch::kParts; ++part) {
      typename Arch::XOperand x_part[T];
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) x_part[t] = Arch::LoadX(x + i * T + t * Arch::kStep, part);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        if constexpr (kFetch) {
          if (part == 0) __builtin_prefetch(w + r * w_ld + i + ahead, 0, 2);
        }
        const typename Arch::WOperand w_part = Arch::LoadW(w + r * w_ld + i, part);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) acc[t][r] = Arch::MulAdd(acc[t][r], w_part, x_part[t]);
      }
    }
  }
  if constexpr (kPartial) {
    for (int r = 0; r < R; ++r) {
      typename Arch::Weight padded[Arch::kStep] = {};
      for (int64_t i = full; i < k; ++i) padded[i - full] = w[r * w_ld + i];
      for (int part = 0; part < Arch::kParts; ++part) {
        for (int t = 0; t < T; ++t) {
          acc[t][r] = Arch::MulAdd(acc[t][r], Arch::LoadW(padded, part),
                                   Arch::LoadX(x + full * T + t * Arch::kStep, part));
        }
      }
    }
  }
  for (int t = 0; t < T; ++t) {
    float sums[R];
    if constexpr (R > 1) {
      Arch::ReduceRows(acc[t], sums);
    } else {
      sums[0] = Arch::Reduce(acc[t][0]);
    }
    for (int r = 0; r < R; ++r) y[t * y_ld + r] = first ? sums[r] : y[t * y_ld + r] + sums[r];
  }
}

template <class Arch, int R, int T, bool kFetch, bool kPartial>
constexpr auto BlockFor() {
  if constexpr (requires { Arch::kOwnBlock; }) {
    return &Arch::template Block<R, T, kFetch, kPartial>;
  } else {
    return &DotBlock<Arch, R, T, kFetch, kPartial>;
  }
}

// R rows against every token, one block of K.
template <class Arch, int R, int kMostTokens>
void DotRows(const DotPanel& panel, int64_t row, int64_t k0, int64_t k, int64_t padded_k) {
  const auto* w = static_cast<const typename Arch::Weight*>(panel.w) + row * panel.w_ld + k0;
  const bool last = row + 2 * R > panel.num_rows;  // rows ahead may be another thread's
  const TokenTiles tiles = {panel.num_tokens, Arch::kTokens};
  const int64_t count = tiles.Count();
  for (int64_t i = 0; i < count; ++i) {
    const int64_t t = tiles.First(i), tokens = tiles.First(i + 1) - t;
    const auto* x = static_cast<const typename Arch::Packed*>(panel.x) + t * padded_k + k0 * tokens;
    float* y = panel.y + t * panel.y_ld + row;
    const auto dot = [&]<int T>() {
      const bool fetch = i < kFetchingTiles && !last;
      const auto block = k % Arch::kStep != 0 ? BlockFor<Arch, R, T, false, true>()
                         : fetch              ? BlockFor<Arch, R, T, true, false>()
                                              : BlockFor<Arch, R, T, false, false>();
      block(w, panel.w_ld, R * panel.w_ld, x, k, k0 == 0, y, panel.y_ld);
    };
    // The T of `tokens`.
    [&]<int... kLess>(std::integer_sequence<int, kLess...>) {
      ((tokens == kLess + 1 ? dot.template operator()<kLess + 1>() : void()), ...);
    }
    (std::make_integer_sequence<int, kMostTokens>());
  }
}

// A block of K of every row, R at a time.
template <class Arch, int R, int kMostTokens>
void DotAllRows(const DotPanel& panel, int64_t k0, int64_t k, int64_t padded_k) {
  int64_t row = 0;
  for (; row + R <= panel.num_rows; row += R) {
    DotRows<Arch, R, kMostTokens>(panel, row, k0, k, padded_k);
  }
  for (; row < panel.num_rows; ++row) {
    DotRows<Arch, 1, kMostTokens>(panel, row, k0, k, padded_k);
  }
}

template <class Arch>
void RunDotPanel(const DotPanel& panel) {
  static_assert(kDotBlock % Arch::kStep == 0 && kPackAlign % Arch::kStep == 0);
  const int64_t padded_k = (panel.k + kPackAlign - 1) / kPackAlign * kPackAlign;
  const auto run = panel.num_tokens <= Arch::kTallTokens
                       ? DotAllRows<Arch, Arch::kTallRows, Arch::kTallTokens>
                       : DotAllRows<Arch, Arch::kRows, Arch::kTokens>;
  for (int64_t k0 = 0; k0 < panel.k || k0 == 0; k0 += kDotBlock) {
    run(panel, k0, panel.k - k0 < kDotBlock ? panel.k - k0 : kDotBlock, padded_k);
  }
  if (panel.bias == nullptr) return;
  for (int64_t t = 0; t < panel.num_tokens; ++t) {
    for (int64_t n = 0; n < panel.num_rows; ++n) panel.y[t * panel.y_ld + n] += panel.bias[n];
  }
}

template <class Arch>
constexpr DotKernels DotKernelsFor() {
  return {Arch::kTokens, PackTile<Arch>, sizeof(typename Arch::Packed), RunDotPanel<Arch>};
}

}  // namespace
}  // namespace latentd
