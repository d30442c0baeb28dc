// Projections: Y = X · Wᵀ (+ bias), the dot tile of latent-attention.md section 6.
#pragma once

#include <cstdint>

#include "kernels/core/context.h"
#include "kernels/core/tensor.h"

namespace latentd {

// y[b][m, n] = Σ_k round(x[b][m, k]) · w[b / w_batch_share][n, k]  (+ bias[n]), fp32 accumulation.
// round() is to bf16 when w is bf16, and the identity otherwise. Quantised weights are dequantised
// to fp32 (dequantise.h) a tile of rows at a time, never wholly; batch is 1 then. With weights in
// blocks x is rounded to int8 in their groups (quantise.h), and the bits are the same on every CPU
// path: the order is written down in cpu/int8_tile.h. Accumulation
// order along K depends on K and the CPU path alone: never on the number of rows, the batch or the
// threads. batch > 1 runs independent products (one per head) whose operands lie a fixed stride
// apart.
struct LinearArgs {
  MatrixView<const float> x;    // [M, K]; M may be 0
  WeightView w;                 // [N, K], any dtype
  MatrixView<float> y;          // [M, N], overwritten; must not overlap x
  const float* bias = nullptr;  // [N] or null
  int64_t batch = 1;
  int64_t x_batch_stride = 0;  // elements between the first rows of two batch items
  int64_t y_batch_stride = 0;
  int64_t w_batch_stride = 0;  // elements
  int64_t w_batch_share =
      1;  // so many consecutive batch items use one weight (heads of a KV group)
};
void Linear(const Context& context, const LinearArgs& args);

// The same with W read transposed: y[b][m, n] = Σ_k round(x[b][m, k]) · w[b / share][k, n].
// Used to absorb W_UK into the query: K = d_n rows of kv_b_proj, N = latent lanes. Ascending k.
// REQUIRES: w is not quantised.
struct LinearTransposedArgs {
  MatrixView<const float> x;  // [M, K]
  WeightView w;               // [K, N]
  MatrixView<float> y;        // [M, N], overwritten
  int64_t batch = 1;
  int64_t x_batch_stride = 0;
  int64_t y_batch_stride = 0;
  int64_t w_batch_stride = 0;
  int64_t w_batch_share = 1;
};
void LinearTransposed(const Context& context, const LinearTransposedArgs& args);

}  // namespace latentd
