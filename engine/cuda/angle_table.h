// The rotary angles of positions, each computed once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/model/config.h"

namespace latentd {

// Rows of RopeAngles by position. Memory for every position is set aside at once, but untouched
// until a position is asked for. One thread at a time. Borrows rope.
class AngleTable {
 public:
  AngleTable(const RopeConfig& rope, int64_t num_positions);

  int64_t num_positions() const { return static_cast<int64_t>(is_known_.size()); }
  int64_t num_computed() const { return num_computed_; }  // rows so far
  // [d_r], d_r being twice the number of frequencies: fp32, as long as the table. REQUIRES:
  // 0 <= position < num_positions.
  std::span<const float> Row(int32_t position);

 private:
  const RopeConfig& rope_;
  const size_t width_;                     // d_r
  const std::unique_ptr<float[]> angles_;  // [num_positions, d_r]
  std::vector<bool> is_known_;
  int64_t num_computed_ = 0;
};

}  // namespace latentd
