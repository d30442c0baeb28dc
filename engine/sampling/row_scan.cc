#include "engine/sampling/row_scan.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/core/check.h"

namespace latentd {

absl::Status NotANumberError() {
  return absl::InternalError("the model produced not-a-number logits");
}

absl::Status CheckLogits(std::span<const float> logits) {
  constexpr float kMax = std::numeric_limits<float>::max();
  unsigned bad = 0, finite = 0;
  for (const float x : logits) {
    bad |= static_cast<unsigned>(!(x <= kMax));  // NaN and +inf
    finite |= static_cast<unsigned>(x >= -kMax);
  }
  if (bad == 0 && finite != 0) return absl::OkStatus();
  return NotANumberError();
}

// In lanes of vector type: of a plain loop g++ 12 makes scalar code. An extreme does not depend on
// the order but for the sign of a zero, which nothing made of it shows.
LogitRange RangeOf(std::span<const float> logits) {
  LATENTD_CHECK(!logits.empty());
  using Lanes = float __attribute__((vector_size(16)));
  constexpr size_t kWidth = 4, kVectors = 4;
  const float first = logits[0];
  const Lanes all_first = {first, first, first, first};
  Lanes min[kVectors], max[kVectors];
  std::fill_n(min, kVectors, all_first);
  std::fill_n(max, kVectors, all_first);
  const size_t whole = logits.size() / (kWidth * kVectors) * (kWidth * kVectors);
  for (size_t i = 0; i < whole; i += kWidth * kVectors) {
    for (size_t v = 0; v < kVectors; ++v) {
      Lanes x;
      std::memcpy(&x, &logits[i + kWidth * v], sizeof(x));
      min[v] = x < min[v] ? x : min[v];
      max[v] = x > max[v] ? x : max[v];
    }
  }
  LogitRange range = {first, first};
  const auto take = [&range](float low, float high) {
    range.min = std::min(range.min, low);
    range.max = std::max(range.max, high);
  };
  for (size_t v = 0; v < kVectors; ++v) {
    for (size_t lane = 0; lane < kWidth; ++lane) take(min[v][lane], max[v][lane]);
  }
  for (const float x : logits.subspan(whole)) take(x, x);
  return range;
}

uint32_t FirstLargest(std::span<const float> logits) {
  const auto it = std::find(logits.begin(), logits.end(), RangeOf(logits).max);
  return static_cast<uint32_t>(it - logits.begin());
}

}  // namespace latentd
