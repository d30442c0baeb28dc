// Weights in blocks and the rule by which activations become int8, as kernels/quantise.h defines
// them, for kernels.
#pragma once

#include <cmath>

#include "kernels/cuda/body.h"
#include "kernels/quantise.h"

namespace latentd::cuda {

// Blocks of one format, and what lies where in them.
template <DType kType>
struct Blocks {
  static constexpr DType kDtype = kType;
  static constexpr int kGroup = static_cast<int>(FormatOf(kType).group);
  static constexpr int kBits = static_cast<int>(FormatOf(kType).bits);
  static constexpr int kHalves = static_cast<int>(FormatOf(kType).halves());
  static constexpr int kOffset = FormatOf(kType).offset();
  static constexpr int64_t kScaleBytes = FormatOf(kType).scale_bytes;
  static constexpr int64_t kNumbersAt = FormatOf(kType).numbers_at();
  static constexpr int64_t kBytes = FormatOf(kType).block_bytes();
  static_assert(kBytes % 4 == 0);

  // BlockOf, BlockScale and BlockNumber of kernels/quantise.h.
  LATENTD_HD static const std::byte* Of(const WeightView& w, int64_t row, int64_t group) {
    const int64_t row_block = (w.scales.first_row + row) / kBlockRows;
    return static_cast<const std::byte*>(w.data) +
           (row_block * CeilDiv(w.ld, kGroup) + group) * kBytes;
  }
  LATENTD_HD static float Scale(const std::byte* block, int64_t lane) {
    if constexpr (kScaleBytes == sizeof(float)) {
      return reinterpret_cast<const float*>(block)[lane];
    } else {
      return ToFloat(reinterpret_cast<const bf16*>(block)[lane]);
    }
  }
  LATENTD_HD static int8_t Number(const std::byte* block, int64_t lane, int k) {
    const int quad = k / 4, line = quad / kHalves;
    const auto byte = static_cast<int>(block[kNumbersAt + (line * kBlockRows + lane) * 4 + k % 4]);
    const int number = (byte >> (quad % kHalves * kBits)) & (2 * kOffset - 1);
    return static_cast<int8_t>(number - kOffset);
  }
};
struct Int8Blocks : Blocks<DType::kInt8> {};
struct Int4Blocks : Blocks<DType::kInt4Blocks> {};

// A group of activations becomes numbers by one scale, of its largest magnitude. As bits,
// magnitudes are ordered as their values are, and NaN stands above infinity.
LATENTD_HD inline int32_t MagnitudeBits(float x) { return std::bit_cast<int32_t>(x) & 0x7fffffff; }
struct GroupScale {
  float scale;    // what a number is worth
  float inverse;  // 0: all numbers are 0
};
LATENTD_HD inline GroupScale ScaleOf(int32_t largest_bits) {
  constexpr float kTiniestGroup = 0x1p-100f;
  const auto largest = std::bit_cast<float>(largest_bits);
  if (!(largest < INFINITY)) return {NAN, 0};
  if (largest < kTiniestGroup) return {0, 0};
  return {largest / 127, 127 / largest};
}
// The whole number nearest to x · inverse, of two the even one.
LATENTD_HD inline int8_t NumberOf(float x, const GroupScale& group) {
  constexpr float kShift = 0x1.8p23f;  // the sum has whole numbers in its low bits
  if (group.inverse == 0) return 0;    // x may be infinite
  const float sum = x * group.inverse + kShift;
  return static_cast<int8_t>(std::bit_cast<int32_t>(sum) - std::bit_cast<int32_t>(kShift));
}

}  // namespace latentd::cuda
