// The order of a sum over K in MatrixLinear: a function of K alone.
#pragma once

#include <cstdint>

#include "kernels/cuda/shared_tile.h"

namespace latentd::cuda {

// Eight is what every Hopper chip takes as a cluster of thread blocks. A part of fewer than 256
// lanes (32 KiB of weights to a thread block) would cost more to begin and to add than it saves.
constexpr int kMostParts = 8;
constexpr int kLeastPartLanes = 256;

LATENTD_HD constexpr int NumLaneChunks(int k) { return (k + kChunkLanes - 1) / kChunkLanes; }

// 1, 2, 4 or 8.
LATENTD_HD constexpr int NumParts(int k) {
  int parts = 1;
  while (parts < kMostParts && 2 * parts * kLeastPartLanes <= k) parts *= 2;
  return parts;
}

// First chunk of a part; part `parts` begins where the last one ends. No part is empty.
LATENTD_HD constexpr int PartBegin(int num_chunks, int parts, int part) {
  return static_cast<int>(static_cast<int64_t>(num_chunks) * part / parts);
}

}  // namespace latentd::cuda
