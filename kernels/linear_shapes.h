// What every form of Linear and LinearTransposed asks of its arguments.
#pragma once

#include <cstdint>

#include "kernels/core/check.h"
#include "kernels/linear.h"

namespace latentd {

// Aborts unless x is [M, k], y [M, n], and rows, batch and weights are there.
template <typename Args>
void CheckProduct(const Args& args, int64_t n, int64_t k) {
  LATENTD_CHECK(args.x.cols == k && args.y.cols == n && args.y.rows == args.x.rows);
  LATENTD_CHECK(args.x.ld >= k && args.y.ld >= n && args.w.ld >= args.w.cols);
  LATENTD_CHECK(args.batch >= 0 && args.w_batch_share >= 1);
  LATENTD_CHECK(args.w.data != nullptr || k == 0 || n == 0);
}

}  // namespace latentd
