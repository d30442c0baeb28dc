#include "kernels/dequantise.h"

#include "kernels/core/check.h"
#include "kernels/quantise.h"

namespace latentd {
namespace {

template <typename T>
float Widen(const void* values, int64_t i) {
  return ToFloat(static_cast<const T*>(values)[i]);
}

float Element(const WeightView& w, const std::byte* row, int64_t k) {
  if (w.dtype == DType::kE4M3) return Widen<e4m3>(row, k);
  const int byte = std::to_integer<int>(row[k / 2]);
  return static_cast<float>((k % 2 == 0 ? byte & 15 : byte >> 4) - 8);
}

float Scale(const WeightScales& scales, int64_t i) {
  switch (scales.dtype) {
    case DType::kF32:
      return static_cast<const float*>(scales.data)[i];
    case DType::kF16:
      return Widen<f16>(scales.data, i);
    case DType::kBF16:
      return Widen<bf16>(scales.data, i);
    case DType::kE4M3:
    case DType::kInt4:
    case DType::kInt8:
    case DType::kInt4Blocks:
      break;
  }
  LATENTD_CHECK(!"scales are not quantised");
  return 0;
}

int64_t FirstScale(const WeightView& w, int64_t row) {
  return (w.scales.first_row + row) / w.scales.block_rows * w.scales.ld;
}

void DequantiseBlocks(const WeightView& w, int64_t row, float* to) {
  const BlockFormat& format = FormatOf(w.dtype);
  const int64_t lane = (w.scales.first_row + row) % kBlockRows;
  for (int64_t k = 0; k < w.cols; ++k) {
    const std::byte* block = BlockOf(w, row, k / format.group);
    to[k] = static_cast<float>(BlockNumber(format, block, lane, k % format.group)) *
            BlockScale(format, block, lane);
  }
}

}  // namespace

void DequantiseRow(const WeightView& w, int64_t row, float* to) {
  LATENTD_CHECK(IsQuantised(w.dtype) && row < w.rows);
  if (IsBlocked(w.dtype)) return DequantiseBlocks(w, row, to);
  const std::byte* from = static_cast<const std::byte*>(w.data) + BytesOf(w.dtype, row * w.ld);
  const int64_t first = FirstScale(w, row);
  for (int64_t k = 0; k < w.cols; ++k) {
    to[k] = Element(w, from, k) * Scale(w.scales, first + k / w.scales.block_cols);
  }
}

const float* RowScales(const WeightView& w, int64_t row, float* widened) {
  const int64_t first = FirstScale(w, row);
  if (w.scales.dtype == DType::kF32) return static_cast<const float*>(w.scales.data) + first;
  for (int64_t i = 0; i < ScalesPerRow(w); ++i) widened[i] = Scale(w.scales, first + i);
  return widened;
}

}  // namespace latentd
