// Passes over one logits row [vocab]. All thread-safe.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace latentd {

// OK when the row has at least one finite number, no NaN and no +inf (−inf marks an impossible
// token). NotANumberError() otherwise.
absl::Status CheckLogits(std::span<const float> logits);
// INTERNAL "the model produced not-a-number logits".
absl::Status NotANumberError();

struct LogitRange {
  float min = 0, max = 0;
};
// REQUIRES: no NaN, at least one number.
LogitRange RangeOf(std::span<const float> logits);

// The index of the largest; the lowest of equals. REQUIRES: as RangeOf.
uint32_t FirstLargest(std::span<const float> logits);

}  // namespace latentd
