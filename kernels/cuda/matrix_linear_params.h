// What the kernel of MatrixLinear reads, passed by value at launch, and the tiles of its grid.
#pragma once

#include <cstdint>

#include "kernels/cuda/body.h"
#include "kernels/cuda/linear_order.h"
#include "kernels/cuda/matrix_linear.h"
#include "kernels/cuda/matrix_linear_layout.h"

namespace latentd::cuda {

struct LinearParams {
  const float* x;
  float* y;
  const float* bias;  // or null
  int64_t x_ld;
  int64_t x_batch_stride;
  int64_t y_ld;
  int64_t y_batch_stride;
  int64_t w_batch_share;
  int m;
  int n;
  int k;
  int token_tiles;
  int row_tiles;
  int batch;
  int parts;          // of K
  int cluster;        // thread blocks of a tile: 1 or parts
  bool x_is_aligned;  // every fourth element of a row begins on 16 bytes
};

// Aborts where MatrixLinear's requirements are broken.
void CheckMatrixLinear(const MatrixProduct& product, const LinearPlan& plan);

inline LinearParams LinearParamsOf(const MatrixProduct& product, const LinearPlan& plan) {
  const LinearArgs& args = product.args;
  LinearParams params = {};
  params.x = args.x.data;
  params.y = args.y.data;
  params.bias = args.bias;
  params.x_ld = args.x.ld;
  params.x_batch_stride = args.x_batch_stride;
  params.y_ld = args.y.ld;
  params.y_batch_stride = args.y_batch_stride;
  params.w_batch_share = args.w_batch_share;
  params.m = static_cast<int>(args.x.rows);
  params.n = static_cast<int>(product.n);
  params.k = static_cast<int>(product.k);
  const LinearLayout layout(plan.tile_tokens);
  params.token_tiles = static_cast<int>(CeilDiv(params.m, layout.tokens));
  params.row_tiles = static_cast<int>(CeilDiv(params.n, layout.Rows()));
  params.batch = static_cast<int>(args.batch);
  params.parts = NumParts(params.k);
  params.cluster = plan.cluster;
  params.x_is_aligned = reinterpret_cast<uintptr_t>(args.x.data) % 16 == 0 && args.x.ld % 4 == 0 &&
                        args.x_batch_stride % 4 == 0;
  return params;
}

// Clusters of the grid.
inline int64_t NumTiles(const LinearParams& params) {
  return int64_t{params.token_tiles} * params.row_tiles * params.batch;
}

// The outputs of a cluster. Neighbours share their weights, so that those come from memory once.
struct LinearTile {
  int64_t batch;
  int first_row;  // of W
  int first_token;
  int num_tokens;
};
LATENTD_HD inline LinearTile LinearTileOf(const LinearParams& params, const LinearLayout& layout,
                                          int tile) {
  const int first_token = tile % params.token_tiles * layout.tokens;
  const int left = params.m - first_token;
  return {tile / params.token_tiles / params.row_tiles,
          tile / params.token_tiles % params.row_tiles * layout.Rows(), first_token,
          left < layout.tokens ? left : layout.tokens};
}

// Where the chunk of W for 64 outputs from `row` on and lanes 64 · chunk … of K begins, in the
// coordinates of WeightBox.
struct BoxPlace {
  int lane;
  int row;
};
LATENTD_HD constexpr BoxPlace WeightPlace(bool transposed, int row, int chunk) {
  return transposed ? BoxPlace{row, chunk * kChunkLanes} : BoxPlace{chunk * kChunkLanes, row};
}

// A chunk of W as wgmma's A at its step-th 16 lanes of K.
LATENTD_HD constexpr uint64_t WeightDescriptor(bool transposed, uint32_t chunk, int step) {
  return transposed ? Advance(DescriptorAlongRows(chunk), step * kStepBytesAlongRows)
                    : Advance(DescriptorAlongLanes(chunk), step * kStepBytesAlongLanes);
}

// The parts of K that a thread block sums: one of a cluster's, or all.
struct PartRange {
  int first;
  int end;
};
LATENTD_HD constexpr PartRange PartsOfBlock(const LinearParams& params, int rank) {
  return params.cluster == 1 ? PartRange{0, params.parts} : PartRange{rank, rank + 1};
}
// The same in chunks.
LATENTD_HD constexpr PartRange ChunksOfBlock(const LinearParams& params, int rank) {
  const PartRange parts = PartsOfBlock(params, rank);
  const int chunks = NumLaneChunks(params.k);
  return {PartBegin(chunks, params.parts, parts.first), PartBegin(chunks, params.parts, parts.end)};
}

// Four lanes of a token, zeros outside of x. kWhole: WholeChunk of their chunk.
struct alignas(16) FourLanes {
  float at[4];
};
LATENTD_HD constexpr bool WholeChunk(const LinearParams& params, int chunk) {
  return params.x_is_aligned && (chunk + 1) * kChunkLanes <= params.k;
}
template <bool kWhole>
LATENTD_HD inline FourLanes LoadFour(const LinearParams& params, const LinearTile& tile, int token,
                                     int lane) {
  FourLanes four = {};
  if (token >= tile.num_tokens) return four;
  const float* row = params.x + tile.batch * params.x_batch_stride +
                     (tile.first_token + token) * params.x_ld + lane;
  if constexpr (kWhole) {
    four = *reinterpret_cast<const FourLanes*>(row);
  } else {
    for (int i = 0; i < 4; ++i) {
      if (lane + i < params.k) four.at[i] = row[i];
    }
  }
  return four;
}

// Where an output goes.
LATENTD_HD inline float* OutputOf(const LinearParams& params, const LinearTile& tile, int token,
                                  int column) {
  return params.y + tile.batch * params.y_batch_stride + (tile.first_token + token) * params.y_ld +
         column;
}

}  // namespace latentd::cuda
