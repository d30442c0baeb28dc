// Rows on their way to a library's product, and from it. Pointers, streams and errors are as in
// operators.h; each enqueues one kernel.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_operands.h"

namespace latentd::cuda {

// out[b][t, k] = x[b][t, k] rounded to bf16 (as Linear rounds its x), and zero from K to out_ld and
// in the rows that x has not.
struct RoundRowsArgs {
  MatrixView<const float> x;  // [T, K]
  int64_t batch = 1;
  int64_t x_batch_stride = 0;  // elements
  bf16* out = nullptr;         // [batch][T + more_rows][out_ld], overwritten
  int64_t out_ld = 0;          // at least K
  int64_t more_rows = 0;
};
void RoundRows(CUstream_st* stream, const RoundRowsArgs& args);

// AbsorbQuery where the sums of its product stand in memory: w_uk says their width alone.
// sums: [T·H][sums_ld].
void PackQuery(CUstream_st* stream, const AbsorbQueryArgs& args, const float* sums,
               int64_t sums_ld);

}  // namespace latentd::cuda
