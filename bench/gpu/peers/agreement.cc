#include "bench/gpu/peers/agreement.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/check.h"

namespace latentd::bench {
namespace {

// What is not a number lies infinitely far away.
double Far(double distance) {
  return std::isnan(distance) ? std::numeric_limits<double>::infinity() : distance;
}

}  // namespace

Worst WorstOf(std::span<const float> got, std::span<const double> expected, int64_t lanes) {
  LATENTD_CHECK(!got.empty() && got.size() == expected.size());
  Worst worst{.difference = -1};
  for (size_t i = 0; i < got.size(); ++i) {
    const double difference = Far(std::fabs(double{got[i]} - expected[i]));
    if (difference <= worst.difference) continue;
    const auto at = static_cast<int64_t>(i);
    worst = {at / lanes, at % lanes, double{got[i]}, expected[i], difference};
  }
  return worst;
}

double FarthestRow(std::span<const float> a, std::span<const float> b, int64_t lanes) {
  LATENTD_CHECK(!a.empty() && a.size() == b.size());
  double farthest = 0;
  for (size_t row = 0; row < a.size(); row += static_cast<size_t>(lanes)) {
    double apart = 0, size = 0;
    for (size_t i = row; i < row + static_cast<size_t>(lanes); ++i) {
      apart += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
      size += double{b[i]} * b[i];
    }
    farthest = std::max(farthest, Far(std::sqrt(apart / size)));
  }
  return farthest;
}

}  // namespace latentd::bench
