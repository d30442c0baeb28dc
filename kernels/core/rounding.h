// Whole numbers rounded up. REQUIRES: nothing negative, a divisor above 0, no overflow of a + b.
#pragma once

#include <cstdint>

namespace latentd {

constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// To a multiple of `unit`.
constexpr int64_t RoundUp(int64_t value, int64_t unit) { return CeilDiv(value, unit) * unit; }

}  // namespace latentd
