#include "server/plot/ticks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace latentd {
namespace {

// The smallest of 1, 2, 5, 10 times a power of ten that is at least `step`.
double NiceStep(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    // The slack takes a quotient that rounding left just above a nice one.
    if (step <= factor * power * (1 + 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::string LabelFor(double value, double step) {
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  return fmt::format("{:.{}f}", value == 0 ? 0.0 : value, decimals);
}

}  // namespace

std::vector<Tick> LinearTicks(double low, double high, size_t count) {
  if (low == high) return {{low, fmt::format("{:.4g}", low)}};
  const double step = NiceStep((high - low) / static_cast<double>(count));
  // Ends that are multiples but for rounding belong to the axis.
  const double slack = 1e-9 * (high - low) / step;
  std::vector<Tick> ticks;
  for (double i = std::ceil(low / step - slack); i <= std::floor(high / step + slack); ++i) {
    ticks.push_back({i * step, LabelFor(i * step, step)});
  }
  return ticks;
}

std::vector<Tick> LogTicks(double low, double high, size_t count) {
  if (high / low < 4) return LinearTicks(low, high, count);
  const bool decades_only = high / low > 1000;
  std::vector<Tick> ticks;
  for (double power = std::pow(10.0, std::floor(std::log10(low))); power <= high; power *= 10) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * power;
      if (value < low || value > high || (decades_only && factor != 1)) continue;
      ticks.push_back({value, fmt::format("{:g}", value)});
    }
  }
  return ticks;
}

std::string FourDigits(double value) {
  if (value >= 99'999.5) return fmt::format("{:.1e}", value);
  return fmt::format("{:.{}f}", value, value < 99.995 ? 2 : value < 999.95 ? 1 : 0);
}

size_t LabelStep(double spacing, double label_size) {
  constexpr double kGap = 3;  // points
  return static_cast<size_t>(std::max(1.0, std::ceil((label_size + kGap) / spacing)));
}

}  // namespace latentd
