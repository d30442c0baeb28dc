// The decode attention in exchanged roles (mla_swapped.cu): which models take it, and a thread
// block's shared memory and barriers.
#pragma once

#include <cstdint>

#include "kernels/cuda/decode_layout.h"
#include "kernels/cuda/decode_protocol.h"
#include "kernels/cuda/host_device.h"

namespace latentd::cuda {

// With so many heads or fewer, query rows are the columns of wgmma, and otherwise its 64 rows. The
// bits of the two differ: nothing but the model may choose.
constexpr int kMostSwappedHeads = 32;

// Columns of a launch whose tiles have up to num_rows rows, the fewest that hold them, or 0 where
// rows are wgmma's rows. A row's bits are the same among any number of columns.
constexpr int DecodeColumns(int num_heads, int num_rows) {
  if (num_heads > kMostSwappedHeads) return 0;
  return num_rows <= 16 ? 16 : num_rows <= 32 ? 32 : 64;
}

// What shared memory keeps of every column, fp32 or int32: one array after the other.
enum ColumnNumber : int {
  kLargest = 0,  // of a tile's scores, by warp; at a unit's end the sums of its weights, by warp
  kShift = 4,    // of the tile (TileStep)
  kCorrection,
  kEarlier,  // of the unit (FoldWeights)
  kLater,
  kVisible,  // how many tokens the row may see; 0 for no row
  kKvGroup,
  kColumnNumbers
};

// Byte offsets:
//   queries [chunks of `columns` rows] | weights [`columns` rows of 64 tokens] |
//   ring [slots of 1 chunk] | numbers of the columns | barriers
// One chunk of queries for the rotary part is kept also where d_r is 0.
struct SwappedLayout {
  int latent_chunks;  // r_w / 64
  int columns;
  int num_slots;

  LATENTD_HD constexpr SwappedLayout(int latent_chunks, int columns)
      : latent_chunks(latent_chunks), columns(columns), num_slots(0) {
    const int left = kSharedBytes - Slot(0) - NumberBytes() - 8 * NumBarriers(0);
    num_slots = left / (kChunkBytes + 8 * (NumBarriers(1) - NumBarriers(0)));
  }
  LATENTD_HD constexpr int QueryChunkBytes() const { return columns * kChunkRowBytes; }
  LATENTD_HD constexpr int Queries(int chunk) const { return chunk * QueryChunkBytes(); }
  LATENTD_HD constexpr int Weights() const { return Queries(latent_chunks + 1); }
  LATENTD_HD constexpr int Slot(int slot) const {
    return Queries(latent_chunks + 2) + slot * kChunkBytes;
  }
  LATENTD_HD constexpr int Numbers() const { return Slot(num_slots); }
  LATENTD_HD constexpr int NumberBytes() const { return kColumnNumbers * 4 * columns; }
  LATENTD_HD constexpr int Barriers() const { return Numbers() + NumberBytes(); }
  LATENTD_HD constexpr int Bytes() const { return Barriers() + 8 * NumBarriers(num_slots); }

  // The output's chunks are divided between the two consumer warpgroups; the first, which also
  // makes the scores, has the smaller half.
  LATENTD_HD constexpr int FirstChunk(int warpgroup) const {
    return warpgroup == 0 ? 0 : latent_chunks / 2;
  }
  LATENTD_HD constexpr int NumChunks(int warpgroup) const {
    return warpgroup == 0 ? latent_chunks / 2 : latent_chunks - latent_chunks / 2;
  }
};

// The barriers of decode_protocol.h, with slots of the ring for its stages. A chunk is released by
// the warpgroup that reads it last: warpgroup 0 the rotary part, after the scores; the one whose
// output it makes any other. (Warpgroup 1 reads a chunk after weights_full, when warpgroup 0 is
// done with it.)
LATENTD_HD constexpr uint32_t NumSwappedArrivals(int barrier) {
  const bool is_empty = barrier >= StageEmpty(0) && barrier % 2 == StageEmpty(0) % 2;
  return is_empty ? static_cast<uint32_t>(kWarpsOfGroup) : NumArrivals(barrier, 1);
}

}  // namespace latentd::cuda
