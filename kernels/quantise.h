// Weights of few bits, made when a model is loaded, and the rule by which activations become int8.
//
// Values are cut into groups along K, the last of which may be short: 128 of them for int8 weights,
// 32 for int4 weights. An activation is cut as the weights that it meets.
//
// int8, of weights and activations alike: a group becomes one scale, its largest magnitude / 127,
// and whole numbers from −127 to 127, rounded to nearest: a value is off by half a step,
// largest / 254, at most.
//
// int4: whole numbers from −8 to 7 and a scale, which is −m / 8, m being the value of the largest
// magnitude, so that all sixteen are used; or −m / 7 or −m / 9 where that makes the sum of squared
// errors less; rounded to bf16. A value is off by half a step, or by what it lies beyond −8 or 7
// steps: by 2/9 of |m| at most. As measured in docs/weights.md, groups of 64 would save 6 % of the
// bytes and lose half as much accuracy again, and a zero point would take 6 % more and gain none.
//
// A group below 2^−100 becomes zeros; one that holds a NaN or an infinity gets NaN for a scale, so
// that nothing of it looks like a number.
//
// A matrix is stored as blocks of 16 rows × one group. The blocks of 16 rows stand one behind the
// other along K, then come those of the next 16 rows, so that a product reads a single stream:
//
//   int8: | scales of rows 0 … 15, fp32 | k 0…3 of row 0 | k 0…3 of row 1 | … | k 0…3 of row 15 |
//         | k 4…7 of row 0 | … | k 124…127 of row 15 |                             2112 bytes
//   int4: | scales of rows 0 … 15, bf16 | k 0…3 and 4…7 of row 0 | … | k 0…3 and 4…7 of row 15 |
//         | k 8…11 and 12…15 of row 0 | … | k 24…27 and 28…31 of row 15 |            288 bytes
//
// Of two int4 numbers in a byte the first is in the low half. A number is stored as itself + 128,
// or
// + 8: the unsigned side of vpdpbusd. Rows and columns that fill up a block are zeros.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/tensor.h"
#include "kernels/core/thread_pool.h"

namespace latentd {

constexpr int64_t kBlockRows = 16;

struct BlockFormat {
  DType dtype;
  int64_t group;        // numbers of a row to one scale
  int64_t bits;         // of a number
  int64_t scale_bytes;  // fp32 or bf16

  // Numbers of a byte, and what is added to each.
  constexpr int64_t halves() const { return 8 / bits; }
  constexpr int32_t offset() const { return 1 << (bits - 1); }
  constexpr int64_t numbers_at() const { return kBlockRows * scale_bytes; }  // in a block
  constexpr int64_t block_bytes() const { return numbers_at() + kBlockRows * group / halves(); }
  constexpr int64_t Groups(int64_t cols) const { return (cols + group - 1) / group; }
  // Bytes of a matrix.
  constexpr int64_t Bytes(int64_t rows, int64_t cols) const {
    return (rows + kBlockRows - 1) / kBlockRows * Groups(cols) * block_bytes();
  }
  constexpr double BytesPerWeight() const {
    return static_cast<double>(block_bytes()) / static_cast<double>(kBlockRows * group);
  }
};

inline constexpr BlockFormat kInt8Format{DType::kInt8, 128, 8, 4};
inline constexpr BlockFormat kInt4Format{DType::kInt4Blocks, 32, 4, 2};
constexpr int64_t kMaxGroup = kInt8Format.group;

// REQUIRES: IsBlocked(dtype).
constexpr const BlockFormat& FormatOf(DType dtype) {
  return dtype == DType::kInt8 ? kInt8Format : kInt4Format;
}

// Writes w to `to`, which has room for format.Bytes(w.rows, w.cols), and returns the view of it.
// The same bytes for any pool. REQUIRES: w is not quantised.
WeightView Quantise(ThreadPool* pool, const BlockFormat& format, const WeightView& w,
                    std::byte* to);

// One group of activations or int8 weights on its own: writes q[i], i < count; returns the scale.
float QuantiseGroup(const float* x, int64_t count, int8_t* q);

// The block that holds row `row` of a view and group `group`. REQUIRES: IsBlocked(w.dtype).
inline const std::byte* BlockOf(const WeightView& w, int64_t row, int64_t group) {
  const BlockFormat& format = FormatOf(w.dtype);
  const int64_t row_block = (w.scales.first_row + row) / kBlockRows;
  return static_cast<const std::byte*>(w.data) +
         (row_block * format.Groups(w.ld) + group) * format.block_bytes();
}

// Scale and k-th number of a row of a block. REQUIRES: lane < kBlockRows, k < format.group.
float BlockScale(const BlockFormat& format, const std::byte* block, int64_t lane);
int32_t BlockNumber(const BlockFormat& format, const std::byte* block, int64_t lane, int64_t k);

}  // namespace latentd
