// A row of quantised weights as fp32, a vector at a time. Included by the path files alone;
// internal linkage, as dot_tile.h.
//
// Arch supplies Vec, kLanes, kBits (of an element; 4 or 8) and Load (kLanes elements without their
// scale), Broadcast, Mul, Store.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/table.h"

namespace latentd {
namespace {

template <class Arch>
void DequantiseRowTile(const void* row, const float* scales, int64_t block, int64_t cols,
                       float* to) {
  const auto* from = static_cast<const uint8_t*>(row);
  for (int64_t begin = 0; begin < cols; begin += block, ++scales) {
    const int64_t end = cols - begin < block ? cols : begin + block;
    const typename Arch::Vec scale = Arch::Broadcast(*scales);
    int64_t k = begin;
    for (; k + Arch::kLanes <= end; k += Arch::kLanes) {
      Arch::Store(to + k, Arch::Mul(Arch::Load(from + k * Arch::kBits / 8), scale));
    }
    if (k == end) continue;
    // Copied beside zeros, since a whole load could leave the mapping.
    uint8_t padded[Arch::kLanes] = {};
    float values[Arch::kLanes];
    std::memcpy(padded, from + k * Arch::kBits / 8,
                static_cast<size_t>((end - k) * Arch::kBits + 7) / 8);
    Arch::Store(values, Arch::Mul(Arch::Load(padded), scale));
    for (int64_t i = k; i < end; ++i) to[i] = values[i - k];
  }
}

}  // namespace
}  // namespace latentd
