#include "engine/cuda/angle_table.h"

#include "kernels/core/check.h"
#include "kernels/rope.h"

namespace latentd {

AngleTable::AngleTable(const RopeConfig& rope, int64_t num_positions)
    : rope_(rope),
      width_(2 * rope.inv_freq.size()),
      angles_(std::make_unique_for_overwrite<float[]>(static_cast<size_t>(num_positions) * width_)),
      is_known_(static_cast<size_t>(num_positions)) {}

std::span<const float> AngleTable::Row(int32_t position) {
  LATENTD_CHECK(position >= 0 && position < num_positions());
  const auto row = static_cast<size_t>(position);
  float* const angles = angles_.get() + row * width_;
  if (!is_known_[row]) {
    const auto cols = static_cast<int64_t>(width_);
    RopeAngles({&position, 1}, rope_.inv_freq, rope_.magnitude, {angles, 1, cols, cols});
    is_known_[row] = true;
    ++num_computed_;
  }
  return {angles, width_};
}

}  // namespace latentd
