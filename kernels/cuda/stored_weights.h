// Weights whose dtype only the kernel sees: those of experts, which come in a table, and the
// quantised ones of Linear.
#pragma once

#include "kernels/cuda/body.h"
#include "kernels/cuda/weight_type.h"

namespace latentd::cuda {

template <typename T>
LATENTD_HD float WidenAt(const void* values, int64_t i) {
  return Widen(static_cast<const T*>(values)[i]);
}

// REQUIRES: dtype is not quantised.
LATENTD_HD inline float PlainElement(const void* values, DType dtype, int64_t i) {
  if (dtype == DType::kF32) return WidenAt<float>(values, i);
  if (dtype == DType::kF16) return WidenAt<f16>(values, i);
  return WidenAt<bf16>(values, i);
}

// Element (row, k) with the bits of DequantiseRow (kernels/dequantise.h). REQUIRES: w is quantised,
// not in blocks.
LATENTD_HD inline float DequantisedElement(const WeightView& w, int64_t row, int64_t k) {
  const auto* bytes = static_cast<const uint8_t*>(w.data);
  const int64_t i = row * w.ld + k;
  float number;
  if (w.dtype == DType::kE4M3) {
    number = ToFloat(e4m3{bytes[i]});
  } else {
    number = static_cast<float>((i % 2 == 0 ? bytes[i / 2] & 15 : bytes[i / 2] >> 4) - 8);
  }
  // In 32 bits: a division of 64 takes far longer on the device.
  const auto scale_row =
      static_cast<uint32_t>(w.scales.first_row + row) / static_cast<uint32_t>(w.scales.block_rows);
  const auto scale_col = static_cast<uint32_t>(k) / static_cast<uint32_t>(w.scales.block_cols);
  const int64_t place = int64_t{scale_row} * w.scales.ld + scale_col;
  return number * PlainElement(w.scales.data, w.scales.dtype, place);
}

// ProductWeights (tile_product.h) of any dtype but blocks.
struct StoredWeights {
  WeightView view;
  int64_t n;
  int64_t k;
  static constexpr bool transposed = false;

  LATENTD_HD float At(int64_t row, int64_t depth) const {
    return IsQuantised(view.dtype) ? DequantisedElement(view, row, depth)
                                   : PlainElement(view.data, view.dtype, row * view.ld + depth);
  }
  // What an activation is rounded to before it meets these weights.
  LATENTD_HD float Round(float x) const { return view.dtype == DType::kBF16 ? RoundToBf16(x) : x; }
};

}  // namespace latentd::cuda
