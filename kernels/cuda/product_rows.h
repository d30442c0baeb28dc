// Which rows a product takes, and with which weights: all rows of a matrix with one weight
// (Linear), or the grouped rows of the experts, each with its expert's (ExpertMlps). Bodies of
// products take either as a template parameter.
#pragma once

#include "kernels/cuda/body.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/tile_product.h"
#include "kernels/linear.h"

namespace latentd::cuda {

static_assert(kExpertTileRows == kProductRows);

struct AllRows {
  MatrixView<const float> x;
  WeightView w;
  MatrixView<float> y;
  const float* bias;

  LATENTD_HD int64_t NumTiles() const { return CeilDiv(x.rows, kProductRows); }
  LATENTD_HD int64_t NumOutputs() const { return w.rows; }
  LATENTD_HD int64_t Depth() const { return w.cols; }
  LATENTD_HD ExpertTile TileAt(int64_t i) const {
    const int64_t first = i * kProductRows, left = x.rows - first;
    return {0, static_cast<int32_t>(first),
            static_cast<int32_t>(left < kProductRows ? left : kProductRows)};
  }
  LATENTD_HD const WeightView& Weights(const ExpertTile&) const { return w; }
  LATENTD_HD const float* From(int64_t row) const { return RowOf(x, row); }
  LATENTD_HD float* To(int64_t row) const { return RowOf(y, row); }
  LATENTD_HD float WithBias(float sum, int64_t col) const {
    return bias == nullptr ? sum : sum + bias[col];
  }
};

struct GroupedRows {
  MatrixView<const float> x;
  ExpertMatrices w;
  MatrixView<float> y;
  const ExpertTile* tiles;
  int64_t num_tiles;
  const int32_t* choices;  // null: x is grouped too; otherwise x has a row for each token
  int32_t top_k;

  LATENTD_HD int64_t NumTiles() const { return num_tiles; }
  LATENTD_HD int64_t NumOutputs() const { return w.rows; }
  LATENTD_HD int64_t Depth() const { return w.cols; }
  LATENTD_HD ExpertTile TileAt(int64_t i) const { return tiles[i]; }
  LATENTD_HD const WeightView& Weights(const ExpertTile& tile) const {
    return w.views[tile.expert];
  }
  LATENTD_HD const float* From(int64_t row) const {
    return RowOf(x, choices == nullptr ? row : choices[row] / top_k);
  }
  LATENTD_HD float* To(int64_t row) const { return RowOf(y, row); }
  LATENTD_HD static float WithBias(float sum, int64_t) { return sum; }
};

// The block's tile and first output; tiles are fastest, so that blocks beside each other share
// weights.
template <typename Rows>
struct ProductBlock {
  ExpertTile tile;
  int64_t first_col;

  LATENTD_HD ProductBlock(const Rows& rows, int64_t block)
      : tile(rows.TileAt(block % rows.NumTiles())),
        first_col(block / rows.NumTiles() * kProductCols) {}
  static int64_t Count(const Rows& rows) {
    return rows.NumTiles() * CeilDiv(rows.NumOutputs(), kProductCols);
  }
};

// Writes the thread's sums of the block's outputs.
template <typename Rows>
LATENTD_HD void WriteProduct(const Rows& rows, const ProductBlock<Rows>& at, int thread,
                             const ProductSums& sums) {
  ForEachOutput(thread, sums, [&](int i, int j, float sum) {
    const int64_t col = at.first_col + j;
    if (i >= at.tile.num_rows || col >= rows.NumOutputs()) return;
    rows.To(at.tile.first_row + i)[col] = rows.WithBias(sum, col);
  });
}

}  // namespace latentd::cuda
