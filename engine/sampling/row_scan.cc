#include "engine/sampling/row_scan.h"

#include <algorithm>
#include <limits>

#include "kernels/core/check.h"

namespace latentd {

absl::Status CheckLogits(std::span<const float> logits) {
  constexpr float kMax = std::numeric_limits<float>::max();
  unsigned bad = 0, finite = 0;
  for (const float x : logits) {
    bad |= static_cast<unsigned>(!(x <= kMax));  // NaN and +inf
    finite |= static_cast<unsigned>(x >= -kMax);
  }
  if (bad == 0 && finite != 0) return absl::OkStatus();
  return absl::InternalError("the model produced not-a-number logits");
}

// In lanes, which become vector code; a maximum does not depend on the order.
LogitRange RangeOf(std::span<const float> logits) {
  LATENTD_CHECK(!logits.empty());
  constexpr size_t kLanes = 16;
  float min[kLanes], max[kLanes];
  std::fill_n(min, kLanes, logits[0]);
  std::fill_n(max, kLanes, logits[0]);
  const auto take = [&](size_t lane, float x) {
    min[lane] = x < min[lane] ? x : min[lane];
    max[lane] = x > max[lane] ? x : max[lane];
  };
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) take(lane, logits[i + lane]);
  }
  for (size_t i = whole; i < logits.size(); ++i) take(i - whole, logits[i]);
  return {*std::min_element(min, min + kLanes), *std::max_element(max, max + kLanes)};
}

uint32_t FirstLargest(std::span<const float> logits) {
  const auto it = std::find(logits.begin(), logits.end(), RangeOf(logits).max);
  return static_cast<uint32_t>(it - logits.begin());
}

}  // namespace latentd
