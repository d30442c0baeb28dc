// The body of a product whose weights are quantised or come in a table.
#pragma once

#include "kernels/cuda/blocked_linear_body.h"
#include "kernels/cuda/stored_linear_body.h"

namespace latentd::cuda {

// run(body). `dtype` is that of the weights if it is in blocks; if not, theirs are not either.
template <typename Rows, typename Run>
void WithStored(DType dtype, const Rows& rows, const Run& run) {
  if (dtype == DType::kInt8) return run(BlockedLinearBody<Rows, Int8Blocks>{rows});
  if (dtype == DType::kInt4Blocks) return run(BlockedLinearBody<Rows, Int4Blocks>{rows});
  run(StoredLinearBody<Rows>{rows});
}

}  // namespace latentd::cuda
