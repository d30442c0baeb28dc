// Linear and LinearTransposed: a block for each tile of 32 × 64 outputs.
#pragma once

#include "kernels/cuda/stored_product.h"
#include "kernels/cuda/tile_product.h"
#include "kernels/linear_shapes.h"

namespace latentd::cuda {

// A tile moves 4·32 + 2·64 bytes (bf16) through shared memory per 4096 FLOP of a k: far from the
// matrix units' rate, and at a few rows far from the memory's. Plain on purpose: what it promises
// is its order.
template <typename T>
struct LinearBody {
  static constexpr int kThreads = kProductThreads;
  using Shared = ProductTile;
  using Thread = ProductSums;

  MatrixView<const float> x;
  ProductWeights<T> w;
  MatrixView<float> y;
  const float* bias;
  int64_t batch;
  int64_t x_batch_stride;
  int64_t y_batch_stride;
  int64_t w_batch_stride;
  int64_t w_batch_share;

  LATENTD_HD int64_t RowTiles() const { return CeilDiv(x.rows, kProductRows); }
  LATENTD_HD int64_t ColTiles() const { return CeilDiv(w.n, kProductCols); }
  int64_t NumBlocks() const { return batch * ColTiles() * RowTiles(); }
  LATENTD_HD int NumPhases() const { return ProductPhases(w.k) + 1; }
  LATENTD_HD void Run(int phase, int64_t block, int thread, Thread& own, Shared& shared) const {
    const int64_t first_row = block % RowTiles() * kProductRows;
    const int64_t first_col = block / RowTiles() % ColTiles() * kProductCols;
    const int64_t b = block / (RowTiles() * ColTiles());
    if (phase == 0) ClearSums(own);
    if (phase + 1 == NumPhases()) return Write(b, first_row, first_col, thread, own);
    ProductWeights<T> weights = w;
    weights.data += b / w_batch_share * w_batch_stride;
    const float* rows = x.data + b * x_batch_stride;
    const auto element = [&](int row, int64_t k) {
      return first_row + row < x.rows ? RoundFor<T>(rows[(first_row + row) * x.ld + k]) : 0.0f;
    };
    RunProduct(phase, element, weights, first_col, thread, own, shared);
  }

 private:
  LATENTD_HD void Write(int64_t b, int64_t first_row, int64_t first_col, int thread,
                        const Thread& own) const {
    ForEachOutput(thread, own, [&](int i, int j, float sum) {
      const int64_t row = first_row + i, col = first_col + j;
      if (row >= x.rows || col >= w.n) return;
      RowOf(y, row)[b * y_batch_stride + col] = bias == nullptr ? sum : sum + bias[col];
    });
  }
};

// run(body) with the body of Args' product: W of n × k, read transposed or not.
template <typename Args, typename Run>
void WithProduct(const Args& args, int64_t n, int64_t k, bool transposed, const float* bias,
                 const Run& run) {
  CheckProduct(args, n, k);
  ForWeightType(args.w.dtype, [&](auto element) {
    using T = decltype(element);
    const ProductWeights<T> w = {static_cast<const T*>(args.w.data), n, k, args.w.ld, transposed};
    run(LinearBody<T>{args.x, w, args.y, bias, args.batch, args.x_batch_stride, args.y_batch_stride,
                      args.w_batch_stride, args.w_batch_share});
  });
}
template <typename Run>
void WithLinear(const LinearArgs& args, const Run& run) {
  if (!IsQuantised(args.w.dtype)) {
    return WithProduct(args, args.w.rows, args.w.cols, false, args.bias, run);
  }
  CheckProduct(args, args.w.rows, args.w.cols);
  LATENTD_CHECK(args.batch == 1);
  WithStored(args.w.dtype, AllRows{args.x, args.w, args.y, args.bias}, run);
}
template <typename Run>
void WithLinear(const LinearTransposedArgs& args, const Run& run) {
  WithProduct(args, args.w.cols, args.w.rows, true, nullptr, run);
}

}  // namespace latentd::cuda
