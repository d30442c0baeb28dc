// Borrowed views. They never own memory; the owner outlives every view and says so at its
// declaration.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/dtype.h"

namespace latentd {

// Row-major matrix of activations. ld >= cols is the distance between rows, in elements.
template <typename T>
struct MatrixView {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t ld = 0;

  T* row(int64_t i) const { return data + i * ld; }
  MatrixView Rows(int64_t first, int64_t count) const { return {row(first), count, cols, ld}; }
  MatrixView Cols(int64_t first, int64_t count) const { return {data + first, rows, count, ld}; }
  operator MatrixView<const T>() const { return {data, rows, cols, ld}; }  // NOLINT: widening
};

// Scales of a quantised matrix, one for each block of block_rows × block_cols elements; the last
// blocks of a row or column may be cut. Element (i, k) is worth
// q(i, k) · scale((first_row + i) / block_rows, k / block_cols), scales being a row-major matrix.
struct WeightScales {
  const void* data = nullptr;
  DType dtype = DType::kF32;  // not quantised
  int64_t ld = 0;             // scales between two rows of them
  int64_t block_rows = 1;
  int64_t block_cols = 1;
  int64_t first_row = 0;  // where a view begins in the matrix that the blocks were cut from
};

// Row-major weight matrix as the checkpoint stores it ([out, in] for projections), usually mapped;
// or one in blocks (IsBlocked), whose data stays the first block of the whole matrix and whose rows
// begin at scales.first_row. A narrower width is a view with fewer rows or columns and the same ld.
struct WeightView {
  const void* data = nullptr;  // null: the tensor is absent in this model
  DType dtype = DType::kBF16;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t ld = 0;            // elements; even for kInt4, whole groups for blocks
  WeightScales scales = {};  // of a quantised dtype

  explicit operator bool() const { return data != nullptr; }
  WeightView Rows(int64_t first, int64_t count) const {
    WeightView view = *this;
    if (!IsBlocked(dtype)) {
      view.data = static_cast<const std::byte*>(data) + BytesOf(dtype, first * ld);
    }
    view.rows = count;
    view.scales.first_row += first;
    return view;
  }
  // The leading count columns.
  WeightView Leading(int64_t count) const {
    WeightView view = *this;
    view.cols = count;
    return view;
  }
};

}  // namespace latentd
