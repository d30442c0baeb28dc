// A zero-filled float array, 64-byte aligned, allocated once at start-up.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernels/core/check.h"
#include "kernels/core/tensor.h"

namespace latentd {

class Buffer {
 public:
  Buffer() = default;
  // REQUIRES: rows, cols >= 0.
  Buffer(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {
    const size_t bytes = (static_cast<size_t>(rows * cols) * sizeof(float) + 63) / 64 * 64;
    data_.reset(static_cast<float*>(std::aligned_alloc(64, bytes == 0 ? 64 : bytes)));
    LATENTD_CHECK(data_ != nullptr);
    std::memset(data_.get(), 0, bytes);
  }

  float* data() const { return data_.get(); }
  // The first `rows` rows; borrowed.
  MatrixView<float> Rows(int64_t rows) const {
    LATENTD_CHECK(rows <= rows_);
    return {data_.get(), rows, cols_, cols_};
  }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  int64_t rows_ = 0, cols_ = 0;
  std::unique_ptr<float, Free> data_;
};

}  // namespace latentd
