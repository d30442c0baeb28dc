// What the suites of products (linear_test, matrix_linear_test) vary.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace latentd::cuda {

// Between and behind operands: whatever lies outside must not count.
constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// x [m, k] of each of `batch`, w [n, k] of each `share` of them.
struct Shape {
  int64_t m, n, k;
  int64_t batch = 1, share = 1;

  std::string Describe() const {
    return "M " + std::to_string(m) + " N " + std::to_string(n) + " K " + std::to_string(k) +
           " batch " + std::to_string(batch) + " share " + std::to_string(share);
  }
};

}  // namespace latentd::cuda
