// Quantised weights as fp32.
#pragma once

#include <cstdint>

#include "kernels/core/tensor.h"

namespace latentd {

// to[k] = round(q(row, k) · scale), k < w.cols, one fp32 rounding: exact where the product needs no
// more than 24 bits, as with bf16 scales or powers of two. Every CPU path dequantises to these bits
// (of NaNs: to some NaN). REQUIRES: w.dtype is quantised, row < w.rows.
void DequantiseRow(const WeightView& w, int64_t row, float* to);

// The scales of one row, ceil(cols / block_cols) of them: in place when they are fp32, otherwise
// widened into `widened`, which has room for them. REQUIRES: not blocked.
const float* RowScales(const WeightView& w, int64_t row, float* widened);

inline int64_t ScalesPerRow(const WeightView& w) {
  return (w.cols + w.scales.block_cols - 1) / w.scales.block_cols;
}

}  // namespace latentd
