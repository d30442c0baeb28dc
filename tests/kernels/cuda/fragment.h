// The accumulators of a warpgroup, for the emulators of the decode attention.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "kernels/cuda/shared_tile.h"

namespace latentd::cuda {

// Registers i of all threads of a 64 × num_columns accumulator; NaN before anything is written to
// them.
class Fragment {
 public:
  explicit Fragment(int num_columns)
      : num_columns_(num_columns),
        values_(static_cast<size_t>(kTileRows * num_columns),
                std::numeric_limits<float>::quiet_NaN()) {}
  float& operator()(int thread, int i) {
    return values_[static_cast<size_t>(thread * (num_columns_ / 2) + i)];
  }
  void Clear() { std::fill(values_.begin(), values_.end(), 0.0f); }
  int num_columns() const { return num_columns_; }
  int num_registers() const { return num_columns_ / 2; }
  std::span<float> values() { return values_; }

 private:
  int num_columns_;
  std::vector<float> values_;
};

}  // namespace latentd::cuda
