#include "kernels/quantise.h"

#include <cstring>

#include "kernels/core/check.h"
#include "kernels/cpu/quantise_tile.h"

namespace latentd {
namespace {

template <typename T>
void WidenTo(const void* row, int64_t first, int64_t count, float* to) {
  const T* from = static_cast<const T*>(row) + first;
  for (int64_t i = 0; i < count; ++i) to[i] = ToFloat(from[i]);
}

void Widen(const WeightView& w, int64_t row, int64_t first, int64_t count, float* to) {
  const void* from = w.Rows(row, 1).data;
  switch (w.dtype) {
    case DType::kF32:
      std::memcpy(to, static_cast<const float*>(from) + first,
                  static_cast<size_t>(count) * sizeof(float));
      return;
    case DType::kF16:
      return WidenTo<f16>(from, first, count, to);
    case DType::kBF16:
      return WidenTo<bf16>(from, first, count, to);
    case DType::kE4M3:
    case DType::kInt4:
    case DType::kInt8:
      LATENTD_CHECK(!"quantised weights are not quantised again");
  }
}

// One row of a block.
void FillRow(const WeightView& w, int64_t row, int64_t first, std::byte* block) {
  const int64_t count = std::min(kInt8Group, w.cols - first);
  const int64_t lane = row % kInt8Rows;
  float values[kInt8Group] = {};
  int8_t q[kInt8Group];
  Widen(w, row, first, count, values);
  const float scale = QuantiseWholeGroup(values, q).scale;
  std::memcpy(block + lane * 4, &scale, sizeof scale);
  for (int8_t& n : q) n = static_cast<int8_t>(n ^ 0x80);  // + 128, as a byte
  std::byte* const to = block + kInt8Rows * 4 + lane * 4;
  for (int64_t k = 0; k < kInt8Group; k += 4) std::memcpy(to + k * kInt8Rows, q + k, 4);
}

}  // namespace

WeightView QuantiseToInt8(const WeightView& w, std::byte* to) {
  LATENTD_CHECK(!IsQuantised(w.dtype));
  const int64_t groups = Int8Groups(w.cols);
  const WeightView view{to, DType::kInt8, w.rows, w.cols, groups * kInt8Group};
  for (int64_t row = 0; row < w.rows; row += kInt8Rows) {
    for (int64_t g = 0; g < groups; ++g, to += kInt8BlockBytes) {
      std::memset(to, 0, kInt8Rows * 4);
      std::memset(to + kInt8Rows * 4, 128, kInt8BlockBytes - kInt8Rows * 4);
      const int64_t end = std::min(w.rows, row + kInt8Rows);
      for (int64_t n = row; n < end; ++n) FillRow(w, n, g * kInt8Group, to);
    }
  }
  return view;
}

float QuantiseGroup(const float* x, int64_t count, int8_t* q) {
  float padded[kInt8Group] = {};
  std::copy_n(x, count, padded);
  return QuantiseWholeGroup(padded, q).scale;
}

}  // namespace latentd
