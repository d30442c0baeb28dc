#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace latentd::bench {

// Smallest value that at least `share` of the values do not exceed: 0.5 is the (lower) median.
// REQUIRES: values is not empty; 0 < share <= 1.
inline double Quantile(std::vector<double> values, double share) {
  const double rank = std::ceil(share * static_cast<double>(values.size())) - 1;
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(std::max(rank, 0.0));
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

}  // namespace latentd::bench
