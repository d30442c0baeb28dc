// The row-accumulating tile: a few tokens × a few vectors of lanes, one fp32 accumulator per
// output, ascending k. Included by the path files alone; internal linkage, as dot_tile.h.
//
// Arch supplies Weight, Vec, kLanes, kTokens, kNarrow, kWide and Load, Broadcast, MulAdd, Store,
// Zero.
#pragma once

#include <cstdint>

#include "kernels/cpu/table.h"

namespace latentd {
namespace {

template <class Arch, int T, int V>
inline void TransposedTile(const TransposedPanel& panel, int64_t token, int64_t lane) {
  const auto* w = static_cast<const typename Arch::Weight*>(panel.w) + lane;
  const float* x = panel.x + token * panel.x_ld;
  typename Arch::Vec acc[T][V];
  for (int t = 0; t < T; ++t) {
    for (int v = 0; v < V; ++v) acc[t][v] = Arch::Zero();
  }
  for (int64_t k = 0; k < panel.k; ++k, w += panel.w_ld) {
    typename Arch::Vec row[V];
#pragma GCC unroll 16
    for (int v = 0; v < V; ++v) row[v] = Arch::Load(w + v * Arch::kLanes);
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
      const typename Arch::Vec factor = Arch::Broadcast(x[t * panel.x_ld + k]);
#pragma GCC unroll 16
      for (int v = 0; v < V; ++v) acc[t][v] = Arch::MulAdd(acc[t][v], factor, row[v]);
    }
  }
  for (int t = 0; t < T; ++t) {
    float* y = panel.y + (token + t) * panel.y_ld + lane;
    for (int v = 0; v < V; ++v) Arch::Store(y + v * Arch::kLanes, acc[t][v]);
  }
}

// Fewer lanes than a vector: copied beside zeros, since a whole load could leave the mapping.
template <class Arch>
void TransposedTail(const TransposedPanel& panel, int64_t token, int64_t lane) {
  const auto* w = static_cast<const typename Arch::Weight*>(panel.w) + lane;
  const float* x = panel.x + token * panel.x_ld;
  const int64_t count = panel.num_lanes - lane;
  typename Arch::Vec acc = Arch::Zero();
  for (int64_t k = 0; k < panel.k; ++k, w += panel.w_ld) {
    typename Arch::Weight padded[Arch::kLanes] = {};
    for (int64_t i = 0; i < count; ++i) padded[i] = w[i];
    acc = Arch::MulAdd(acc, Arch::Broadcast(x[k]), Arch::Load(padded));
  }
  float sums[Arch::kLanes];
  Arch::Store(sums, acc);
  for (int64_t i = 0; i < count; ++i) panel.y[token * panel.y_ld + lane + i] = sums[i];
}

template <class Arch>
void RunTransposedPanel(const TransposedPanel& panel) {
  constexpr int64_t kNarrowLanes = Arch::kNarrow * Arch::kLanes;
  constexpr int64_t kWideLanes = Arch::kWide * Arch::kLanes;
  int64_t lane = 0;
  for (; lane + kNarrowLanes <= panel.num_lanes; lane += kNarrowLanes) {
    int64_t token = 0;
    for (; token + Arch::kTokens <= panel.num_tokens; token += Arch::kTokens) {
      TransposedTile<Arch, Arch::kTokens, Arch::kNarrow>(panel, token, lane);
    }
    const bool wide_follows = panel.num_tokens == 1 && lane + kWideLanes <= panel.num_lanes;
    if (wide_follows) {
      TransposedTile<Arch, 1, Arch::kWide>(panel, token, lane);
      lane += kWideLanes - kNarrowLanes;
      continue;
    }
    for (; token < panel.num_tokens; ++token) {
      TransposedTile<Arch, 1, Arch::kNarrow>(panel, token, lane);
    }
  }
  for (; lane < panel.num_lanes; lane += Arch::kLanes) {
    const bool whole = lane + Arch::kLanes <= panel.num_lanes;
    for (int64_t token = 0; token < panel.num_tokens; ++token) {
      if (whole) {
        TransposedTile<Arch, 1, 1>(panel, token, lane);
      } else {
        TransposedTail<Arch>(panel, token, lane);
      }
    }
  }
}

}  // namespace
}  // namespace latentd
