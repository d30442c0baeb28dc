// Who waits for whom in a decode thread block: its mbarriers, how many arrivals end a phase of
// each, and the parities to wait for. The kernel and the test of its interleavings share it.
//
//   queries_full    TMA's bytes               → warpgroup 0 multiplies scores
//   queries_empty   warps of warpgroup 0      → the next item's queries may come
//   weights_full    threads of warpgroup 0    → both warpgroups multiply P·C
//   weights_empty   warps of both             → the next tile's P may be written
//   full(stage)     TMA's bytes               → both warpgroups read the tile
//   empty(stage)    warps of both             → the stage may be filled again
//
// In a cluster each block copies some chunks of every tile into the ring of all its blocks: bytes
// of all of them make a stage full, and a stage is empty when the warps of all blocks say so, to
// each block. So bytes may come before a block expects them, but never before the use before is
// over. A cluster's blocks begin and end together.
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.h"

namespace latentd::cuda {

constexpr int kWarpsOfGroup = 4;
constexpr int kThreadsOfGroup = 32 * kWarpsOfGroup;

constexpr int kQueriesFull = 0;
constexpr int kQueriesEmpty = 1;
constexpr int kWeightsFull = 2;
constexpr int kWeightsEmpty = 3;
LATENTD_HD constexpr int StageFull(int stage) { return 4 + 2 * stage; }
LATENTD_HD constexpr int StageEmpty(int stage) { return 5 + 2 * stage; }
LATENTD_HD constexpr int NumBarriers(int num_stages) { return 4 + 2 * num_stages; }

// Arrivals that end a phase. The producer's one brings the bytes that must have come too.
LATENTD_HD constexpr uint32_t NumArrivals(int barrier, int cluster) {
  if (barrier == kWeightsFull) return kThreadsOfGroup;
  if (barrier == kQueriesEmpty) return kWarpsOfGroup;
  if (barrier == kWeightsEmpty) return 2 * kWarpsOfGroup;
  return barrier % 2 == 0 ? 1 : static_cast<uint32_t>(2 * kWarpsOfGroup * cluster);
}

// The n-th use of something: readers wait until it is full, writers until the use before is over;
// before the first use a barrier lets a writer pass.
LATENTD_HD constexpr uint32_t FullParity(uint32_t n) { return n & 1; }
LATENTD_HD constexpr uint32_t EmptyParity(uint32_t n) { return (n & 1) ^ 1; }

// Where the n-th tile of a thread block lies, and which use of that stage it is.
struct RingPlace {
  int stage;
  uint32_t use;
};
LATENTD_HD constexpr RingPlace PlaceInRing(uint32_t n, int num_stages) {
  const auto stages = static_cast<uint32_t>(num_stages);
  return {static_cast<int>(n % stages), n / stages};
}

// Of the n-th tile a block copies this chunk and every cluster-th after it, for all blocks of its
// cluster. Of an odd number of chunks they take the larger half in turn.
LATENTD_HD constexpr int FirstChunkCopied(uint32_t rank, uint32_t n, int cluster) {
  return static_cast<int>((rank + n) % static_cast<uint32_t>(cluster));
}

}  // namespace latentd::cuda
