#include "engine/model/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace latentd {
namespace {

// The dimension whose frequency makes `rotations` turns over the original context.
double CorrectionDim(const YarnParameters& yarn, double rotations, double dim) {
  const double turns =
      static_cast<double>(yarn.original_context) / (rotations * 2 * std::numbers::pi);
  return dim * std::log(turns) / (2 * std::log(yarn.theta));
}

}  // namespace

std::vector<double> InverseFrequencies(double theta, int64_t dim) {
  std::vector<double> inv_freq(static_cast<size_t>(dim / 2));
  for (size_t j = 0; j < inv_freq.size(); ++j) {
    inv_freq[j] = 1 / std::pow(theta, 2 * static_cast<double>(j) / static_cast<double>(dim));
  }
  return inv_freq;
}

std::vector<double> YarnInverseFrequencies(const YarnParameters& yarn, int64_t dim) {
  const double size = static_cast<double>(dim);
  double low = CorrectionDim(yarn, yarn.beta_fast, size);
  double high = CorrectionDim(yarn, yarn.beta_slow, size);
  if (yarn.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, size - 1);
  if (low == high) high += 0.001;

  std::vector<double> inv_freq = InverseFrequencies(yarn.theta, dim);
  for (size_t j = 0; j < inv_freq.size(); ++j) {
    const double interpolated = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
    inv_freq[j] = inv_freq[j] / yarn.factor * interpolated + inv_freq[j] * (1 - interpolated);
  }
  return inv_freq;
}

std::vector<double> LongropeInverseFrequencies(double theta, const std::vector<double>& factors) {
  const auto dim = static_cast<int64_t>(2 * factors.size());
  std::vector<double> inv_freq = InverseFrequencies(theta, dim);
  for (size_t j = 0; j < inv_freq.size(); ++j) inv_freq[j] /= factors[j];
  return inv_freq;
}

double LongropeMagnitude(double factor, int64_t original_context) {
  if (factor <= 1) return 1;
  return std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original_context)));
}

double YarnMagnitude(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

}  // namespace latentd
