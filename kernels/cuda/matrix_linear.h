// Linear and LinearTransposed of operators.h for bf16 weights on the matrix units (wgmma), in an
// order of their own.
//
// K is cut into NumParts(K) parts of whole chunks of 64 (linear_order.h). Inside a part the matrix
// unit adds 16 products at a time, ascending, to one fp32 accumulator per output; the parts are
// added from the left, and the bias last. So an output's bits depend on its row, its weights and K:
// not on the number of rows, the batch, the tile's width or which thread block computes what. That
// wgmma itself adds alike at every width is the hardware's part, shown by the suite on a device.
#pragma once

#include "kernels/linear.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

constexpr int kNarrowestTile = 8;
constexpr int kWidestTile = 128;

// How a product is spread over the machine; no bit depends on it.
struct LinearPlan {
  int tile_tokens;  // rows of x in a tile: 8, 16, 32, 64 or 128
  int cluster;      // thread blocks of a tile: 1, or NumParts(K) with a part each
};

// Either operator's arguments, as Linear's; transposed: w is [K, N].
struct MatrixProduct {
  MatrixProduct(const LinearArgs& linear)  // NOLINT: one of the two
      : args(linear), n(linear.w.rows), k(linear.w.cols) {}
  MatrixProduct(const LinearTransposedArgs& linear)  // NOLINT
      : transposed(true), n(linear.w.cols), k(linear.w.rows) {
    args.x = linear.x;
    args.w = linear.w;
    args.y = linear.y;
    args.batch = linear.batch;
    args.x_batch_stride = linear.x_batch_stride;
    args.y_batch_stride = linear.y_batch_stride;
    args.w_batch_stride = linear.w_batch_stride;
    args.w_batch_share = linear.w_batch_share;
  }

  LinearArgs args;
  bool transposed = false;
  int64_t n;
  int64_t k;
};

// Whether these weights are for the matrix units: bf16, rows and matrices a multiple of 16 bytes
// apart (what TMA can read), K not 0. A property of the weights, never of x.
bool TakesMatrixUnits(const MatrixProduct& product);

// The narrowest tile that holds all rows, or the widest; parts by themselves when whole sums would
// leave processors idle. REQUIRES: TakesMatrixUnits(product).
LinearPlan PlanLinear(const MatrixProduct& product, int num_processors);

// One kernel. REQUIRES: TakesMatrixUnits(product); weights begin on 16 bytes; sizes below 2³¹ −
// 128; a plan as above. Otherwise as the operators.
void MatrixLinear(CUstream_st* stream, const MatrixProduct& product, const LinearPlan& plan);

}  // namespace latentd::cuda
