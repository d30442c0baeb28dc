// int8 weights, made when a model is loaded, and the rule by which activations become int8 too.
//
// Values are cut into groups of 128 along K; the last may be short. A group becomes one fp32 scale,
// its largest magnitude / 127, and whole numbers from −127 to 127, rounded to nearest: a value is
// off by half a step, largest / 254, at most. A group below 2^−100 becomes zeros; one that holds a
// NaN or an infinity gets NaN for a scale, so that nothing of it looks like a number.
//
// A matrix is stored as blocks of 16 rows × one group. The blocks of 16 rows stand one behind the
// other along K, then come those of the next 16 rows, so that a product reads a single stream:
//
//   block: | scales of rows 0 … 15, fp32 | k 0…3 of row 0 | k 0…3 of row 1 | … | k 0…3 of row 15 |
//          | k 4…7 of row 0 | … | k 124…127 of row 15 |                           2112 bytes
//
// A number is stored as itself + 128, the unsigned side of vpdpbusd. Rows and columns that fill up
// a block are zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/tensor.h"

namespace latentd {

constexpr int64_t kInt8Group = 128;
constexpr int64_t kInt8Rows = 16;
constexpr int64_t kInt8BlockBytes = kInt8Rows * (4 + kInt8Group);

constexpr int64_t Int8Groups(int64_t cols) { return (cols + kInt8Group - 1) / kInt8Group; }
// Bytes of a matrix.
constexpr int64_t Int8Bytes(int64_t rows, int64_t cols) {
  return (rows + kInt8Rows - 1) / kInt8Rows * Int8Groups(cols) * kInt8BlockBytes;
}

// Writes w to `to`, which has room for Int8Bytes(w.rows, w.cols), and returns the view of it.
// REQUIRES: w is not quantised.
WeightView QuantiseToInt8(const WeightView& w, std::byte* to);

// One group on its own: q[i] for i < 128, zeros from `count` on; returns the scale.
// REQUIRES: count <= 128.
float QuantiseGroup(const float* x, int64_t count, int8_t* q);

// The block that holds row `row` of a view and group `group`.
inline const std::byte* Int8Block(const WeightView& w, int64_t row, int64_t group) {
  const int64_t row_block = (w.scales.first_row + row) / kInt8Rows;
  return static_cast<const std::byte*>(w.data) +
         (row_block * Int8Groups(w.ld) + group) * kInt8BlockBytes;
}

}  // namespace latentd
