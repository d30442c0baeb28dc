// Shared memory of a decode thread block, and the boxes that TMA copies into it.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/cuda/host_device.h"
#include "kernels/cuda/shared_tile.h"
#include "kernels/mla_attention.h"

namespace latentd::cuda {

constexpr int kSharedBytes = 232448;  // what one thread block may have on sm_90
constexpr int kMostStages = 4;        // more hide no latency: a stage is 16 KiB at least

// Byte offsets; one chunk for the rotary part is kept also where d_r is 0.
//   queries [chunks] | ring of stages [chunks] | probabilities [1 chunk] | largest [64] fp32 |
//   barriers
struct DecodeLayout {
  int latent_chunks;  // r_w / 64
  int num_stages;

  LATENTD_HD explicit constexpr DecodeLayout(int latent_chunks)
      : latent_chunks(latent_chunks), num_stages(0) {
    const int left = kSharedBytes - TileBytes() - kChunkBytes - kTailBytes;
    num_stages = left / TileBytes() < kMostStages ? left / TileBytes() : kMostStages;
  }
  LATENTD_HD constexpr int TileBytes() const { return (latent_chunks + 1) * kChunkBytes; }
  LATENTD_HD constexpr int Queries(int chunk) const { return chunk * kChunkBytes; }
  LATENTD_HD constexpr int Stage(int stage, int chunk) const {
    return (stage + 1) * TileBytes() + chunk * kChunkBytes;
  }
  LATENTD_HD constexpr int Probabilities() const { return (num_stages + 1) * TileBytes(); }
  LATENTD_HD constexpr int Largest() const { return Probabilities() + kChunkBytes; }
  LATENTD_HD constexpr int Barriers() const {
    return Largest() + kTileRows * static_cast<int>(sizeof(float));
  }
  LATENTD_HD constexpr int Bytes() const { return Probabilities() + kChunkBytes + kTailBytes; }

  // The output's chunks are divided between the two consumer warpgroups; the first, which also
  // makes the scores, has the smaller half.
  LATENTD_HD constexpr int FirstChunk(int warpgroup) const {
    return warpgroup == 0 ? 0 : latent_chunks / 2;
  }
  LATENTD_HD constexpr int NumChunks(int warpgroup) const {
    return warpgroup == 0 ? latent_chunks / 2 : latent_chunks - latent_chunks / 2;
  }

  static constexpr int kTailBytes = 512;  // largest and barriers
};

// A tensor as TMA sees it: innermost dimension first, sizes and box in elements (bf16), strides in
// bytes. Elements outside are read as zero: that is what pads odd rotary widths and the last rows.
struct TensorBox {
  int rank;
  std::array<uint64_t, 3> size;
  std::array<uint64_t, 2> stride_bytes;  // of dimensions 1 and 2
  std::array<uint32_t, 3> box;
};

// q [rows][row_width]; a box is one chunk of tile_rows rows at (64 · chunk, first row).
constexpr TensorBox QueryBox(int64_t row_width, int64_t rows, int64_t row_bytes,
                             int tile_rows = kTileRows) {
  return {2,
          {static_cast<uint64_t>(row_width), static_cast<uint64_t>(rows), 1},
          {static_cast<uint64_t>(row_bytes), 0},
          {kChunkLanes, static_cast<uint32_t>(tile_rows), 1}};
}

// The pool from one layer's rows on: lanes, 64 slots, then granules, of which neighbours overlap,
// since a block may begin on any of them. A box is one chunk at (64 · chunk, 0, granule).
constexpr TensorBox LatentBox(int64_t row_width, int64_t row_bytes, int64_t num_granules) {
  return {3,
          {static_cast<uint64_t>(row_width), kTileRows, static_cast<uint64_t>(num_granules)},
          {static_cast<uint64_t>(row_bytes), static_cast<uint64_t>(kGranuleBytes)},
          {kChunkLanes, kTileRows, 1}};
}

// How many granules of the pool a block's rows may begin on and still end inside: LatentBox's
// outermost size, so that TMA never reads past the pool. REQUIRES: the pool holds one block.
constexpr int64_t NumBlockStarts(int64_t pool_bytes, const LayerOffsets& layer) {
  return (pool_bytes - layer.rows - kTileRows * layer.row_bytes) / kGranuleBytes + 1;
}

}  // namespace latentd::cuda
