#include "kernels/quantise.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "kernels/core/check.h"
#include "kernels/core/rounding.h"
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
    case DType::kInt4Blocks:
      LATENTD_CHECK(!"quantised weights are not quantised again");
  }
}

struct Int4Group {
  float scale = 0;
  int8_t q[kInt4Format.group] = {};
  float error = 0;  // Σ (x − scale · q)², summed in eight lanes
};

Int4Group WithScale(const float* x, float scale) {
  constexpr int64_t kLanes = 8;
  Int4Group group = {.scale = scale};
  const float inverse = 1 / scale;
  float squares[kLanes] = {};
  for (int64_t i = 0; i < kInt4Format.group; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      const int32_t n = std::clamp(RoundToWhole(x[i + j] * inverse), -8, 7);
      const float off = x[i + j] - scale * static_cast<float>(n);
      group.q[i + j] = static_cast<int8_t>(n);
      squares[j] += off * off;
    }
  }
  for (const float square : squares) group.error += square;
  return group;
}

// The scale is exact in bf16.
Int4Group QuantiseToInt4(const float* x) {
  float largest = 0;
  for (int64_t i = 0; i < kInt4Format.group; ++i) {
    if (!std::isfinite(x[i])) return {.scale = std::numeric_limits<float>::quiet_NaN()};
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  }
  if (std::fabs(largest) < kTiniestGroup) return {};
  Int4Group best = WithScale(x, RoundToBf16(largest / -8));
  for (const float steps : {7.0f, 9.0f}) {
    const Int4Group group = WithScale(x, RoundToBf16(largest / -steps));
    if (group.error < best.error) best = group;
  }
  return best;
}

void StoreScale(const BlockFormat& format, float scale, std::byte* to) {
  if (format.scale_bytes == sizeof scale) {
    std::memcpy(to, &scale, sizeof scale);
  } else {
    const bf16 narrow = ToBf16(scale);
    std::memcpy(to, &narrow, sizeof narrow);
  }
}

// One row of a block whose bytes are all 0; beyond the matrix, of zeros.
void FillRow(const BlockFormat& format, const WeightView& w, int64_t row, int64_t first,
             std::byte* block) {
  const int64_t lane = row % kBlockRows;
  float values[kMaxGroup] = {};
  if (row < w.rows) Widen(w, row, first, std::min(format.group, w.cols - first), values);
  int8_t q[kMaxGroup];
  float scale;
  if (format.dtype == DType::kInt8) {
    scale = QuantiseToInt8(values, format.group, q).scale;
  } else {
    const Int4Group group = QuantiseToInt4(values);
    std::copy_n(group.q, format.group, q);
    scale = group.scale;
  }
  StoreScale(format, scale, block + lane * format.scale_bytes);
  const int64_t line = 4 * format.halves();
  std::byte* to = block + format.numbers_at() + lane * 4;
  for (int64_t k = 0; k < format.group; k += line, to += kBlockRows * 4) {
    for (int64_t i = 0; i < line; ++i) {
      to[i % 4] |= static_cast<std::byte>((q[k + i] + format.offset()) << (i / 4 * format.bits));
    }
  }
}

}  // namespace

WeightView Quantise(ThreadPool* pool, const BlockFormat& format, const WeightView& w,
                    std::byte* to) {
  LATENTD_CHECK(!IsQuantised(w.dtype));
  const int64_t groups = format.Groups(w.cols);
  const auto run = [&](int64_t begin, int64_t end, int) {
    std::byte* block = to + begin * groups * format.block_bytes();
    std::memset(block, 0, static_cast<size_t>((end - begin) * groups * format.block_bytes()));
    for (int64_t row = begin * kBlockRows; row < end * kBlockRows; row += kBlockRows) {
      for (int64_t g = 0; g < groups; ++g, block += format.block_bytes()) {
        for (int64_t n = 0; n < kBlockRows; ++n)
          FillRow(format, w, row + n, g * format.group, block);
      }
    }
  };
  ParallelFor(pool, CeilDiv(w.rows, kBlockRows), 1, std::ref(run));
  return {to, format.dtype, w.rows, w.cols, groups * format.group};
}

float QuantiseGroup(const float* x, int64_t count, int8_t* q) {
  return QuantiseToInt8(x, count, q).scale;
}

float BlockScale(const BlockFormat& format, const std::byte* block, int64_t lane) {
  const std::byte* from = block + lane * format.scale_bytes;
  if (format.scale_bytes == sizeof(bf16)) {
    bf16 narrow;
    std::memcpy(&narrow, from, sizeof narrow);
    return ToFloat(narrow);
  }
  float scale;
  std::memcpy(&scale, from, sizeof scale);
  return scale;
}

int32_t BlockNumber(const BlockFormat& format, const std::byte* block, int64_t lane, int64_t k) {
  const int64_t quad = k / 4, line = quad / format.halves();
  const std::byte pair = block[format.numbers_at() + (line * kBlockRows + lane) * 4 + k % 4];
  const int32_t shifted = std::to_integer<int32_t>(pair) >> (quad % format.halves() * format.bits);
  return (shifted & (2 * format.offset() - 1)) - format.offset();
}

}  // namespace latentd
