// RoundRows and PackQuery: a thread for each element of what is written.
//
// Why x is rounded in memory: a library reads both operands as they stand. A value of x costs 4
// bytes read and 2 written, of a [T, K] matrix 6·T·K bytes. Beside the 2·N·K bytes of W, by which a
// product of few rows is bound, that is 3·T/N: a tenth at T = 64 and N = 2048. Many rows are bound
// by 2·T·N·K FLOP: at 3.3 TB/s and 800 TFLOP/s rounding takes 730/N of the product's time, a tenth
// at N = 7168 and a third at N = 2048, unless the L2 holds x, as it does up to some 10 MB.
#pragma once

#include "kernels/cuda/body.h"
#include "kernels/cuda/library_rows.h"

namespace latentd::cuda {

struct RoundRowsBody : ElementGrid {
  RoundRowsArgs args;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t row = i / cols, k = i % cols;
    const int64_t out_rows = args.x.rows + args.more_rows;
    const int64_t b = row / out_rows, t = row % out_rows;
    const float* from = RowOf(args.x, t) + b * args.x_batch_stride;
    args.out[i] = t < args.x.rows && k < args.x.cols ? ToBf16(from[k]) : bf16{0};
  }
};
inline RoundRowsBody MakeRoundRows(const RoundRowsArgs& args) {
  LATENTD_CHECK(args.batch >= 0 && args.out_ld >= args.x.cols && args.x.ld >= args.x.cols &&
                args.more_rows >= 0);
  return {{args.batch * (args.x.rows + args.more_rows), args.out_ld}, args};
}

struct PackQueryBody : ElementGrid {
  AbsorbQueryArgs args;
  const float* sums;
  int64_t sums_ld;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t row = i / cols, lane = i % cols, rope = lane - args.row_latent;
    float value = lane < args.w_uk.cols ? sums[row * sums_ld + lane] : 0;
    if (rope >= 0 && rope < args.rope_dim) value = Rotary(row)[rope];
    args.out[i] = ToBf16(value);
  }

 private:
  LATENTD_HD const float* Rotary(int64_t row) const {
    const int64_t head_size = args.nope_dim + args.rope_dim;
    return RowOf(args.q, row / args.num_heads) + row % args.num_heads * head_size + args.nope_dim;
  }
};
inline PackQueryBody MakePackQuery(const AbsorbQueryArgs& args, const float* sums,
                                   int64_t sums_ld) {
  LATENTD_CHECK(args.q.cols == args.num_heads * (args.nope_dim + args.rope_dim));
  LATENTD_CHECK(args.w_uk.cols <= args.row_latent && args.w_uk.cols <= sums_ld);
  LATENTD_CHECK(args.rope_dim >= 0 && args.out_ld >= args.row_latent + args.rope_dim);
  return {{args.q.rows * args.num_heads, args.out_ld}, args, sums, sums_ld};
}

}  // namespace latentd::cuda
