// Tiles of MatrixLinear: which outputs a thread block makes, its ring in shared memory, its
// barriers and what its threads hold. The kernel and the emulator share it.
#pragma once

#include <cstdint>

#include "kernels/cuda/decode_layout.h"
#include "kernels/cuda/decode_protocol.h"
#include "kernels/cuda/linear_order.h"
#include "kernels/linear.h"

namespace latentd::cuda {

constexpr int kProcessorSharedBytes = 233472;  // of sm_90, with 1 KiB for each of its blocks
constexpr int kBlockReservedBytes = 1024;

// Warps that round x; the fourth of their warpgroup copies weights. Each takes every third chunk:
// it may wait for a stage two uses ahead, whose parity is the present one's, unless there are as
// many stages as warps.
constexpr int kTokenWarps = 3;

// Byte offsets from a multiple of 1024:
//   ring of stages [weights: groups chunks of 64 rows | tokens: tile_tokens rows of 64 lanes] |
//   barriers
// A chunk of the ring is 64 lanes of K. Once all are consumed, sums take the ring's place.
struct LinearLayout {
  int tokens;      // of a tile
  int groups;      // warpgroups that multiply, 64 weight rows each
  int blocks;      // thread blocks of one processor at a time
  int num_stages;  // 5 … 12

  // Wide tiles have two warpgroups, so that x, which comes as fp32, is read half as often.
  LATENTD_HD explicit constexpr LinearLayout(int tile_tokens)
      : tokens(tile_tokens),
        groups(tile_tokens >= 32 ? 2 : 1),
        blocks(tile_tokens <= 32 ? 2 : 1),
        num_stages(0) {
    const int share = kProcessorSharedBytes / blocks - kBlockReservedBytes;
    num_stages = (share - kBarrierBytes) / StageBytes();
  }
  LATENTD_HD constexpr int Rows() const { return groups * kTileRows; }
  LATENTD_HD constexpr int Threads() const { return (groups + 1) * kThreadsOfGroup; }
  LATENTD_HD constexpr int WeightBytes() const { return groups * kChunkBytes; }
  LATENTD_HD constexpr int StageBytes() const { return WeightBytes() + tokens * kChunkRowBytes; }
  LATENTD_HD constexpr int Weights(int stage, int group) const {
    return stage * StageBytes() + group * kChunkBytes;
  }
  LATENTD_HD constexpr int Tokens(int stage) const { return Weights(stage, groups); }
  LATENTD_HD constexpr int Barriers() const { return num_stages * StageBytes(); }
  LATENTD_HD constexpr int Bytes() const { return Barriers() + kBarrierBytes; }

  // Byte of a sum. Rows of sums are 4 floats longer than a multiple of 32, so that the lanes of a
  // warp, which hold 4 pairs of tokens by 8 rows, write to different banks.
  LATENTD_HD constexpr int Sum(int token, int row) const {
    return 4 * (token * (Rows() + 4) + row);
  }

  static constexpr int kBarrierBytes = 256;
};

//   full(stage)    weights' bytes and the lanes of the warp that rounds tokens → all multiply
//   empty(stage)   warps that multiply                                        → may be filled again
LATENTD_HD constexpr int ChunkFull(int stage) { return 2 * stage; }
LATENTD_HD constexpr int ChunkEmpty(int stage) { return 2 * stage + 1; }
LATENTD_HD constexpr uint32_t NumChunkArrivals(int barrier, int groups) {
  return barrier % 2 == 0 ? 1 + 32 : static_cast<uint32_t>(groups * kWarpsOfGroup);
}

// What a lane of a rounding warp moves in its i-th turn: four lanes of one token.
struct TokenPiece {
  int token;
  int lane;
};
LATENTD_HD constexpr TokenPiece TokenPieceOf(int lane, int i) {
  return {2 * i + lane / 16, 4 * (lane % 16)};
}
LATENTD_HD constexpr int NumTokenPieces(int tile_tokens) { return tile_tokens / 2; }

// W as TMA sees it: [matrix][row][lane], a box being a chunk. Zeros come for lanes and rows
// outside, so a slice of K or N of any length ends exactly.
inline TensorBox WeightBox(const LinearArgs& args) {
  const int64_t matrices = (args.batch + args.w_batch_share - 1) / args.w_batch_share;
  const int64_t stride = matrices > 1 ? args.w_batch_stride : args.w.ld;
  return {3,
          {static_cast<uint64_t>(args.w.cols), static_cast<uint64_t>(args.w.rows),
           static_cast<uint64_t>(matrices)},
          {2 * static_cast<uint64_t>(args.w.ld), 2 * static_cast<uint64_t>(stride)},
          {kChunkLanes, kTileRows, 1}};
}

}  // namespace latentd::cuda
