// Where an axis or a colour bar is marked.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace latentd {

struct Tick {
  double value = 0;
  std::string label;
};

// Multiples of 1, 2 or 5 times a power of ten within [low, high], about `count` of them (never
// more than twice as many), ascending; labels have just the decimals that tell neighbours apart.
// REQUIRES: finite, low <= high, count >= 1. With low == high: one tick there.
std::vector<Tick> LinearTicks(double low, double high, size_t count);

// Marks for a logarithmic axis: linear ones while high / low is below 4, then 1, 2, 5 times powers
// of ten, then, beyond three decades, powers of ten alone.
// REQUIRES: finite, 0 < low <= high, count >= 1.
std::vector<Tick> LogTicks(double low, double high, size_t count);

// `value` in four digits, in scientific form from 100000. REQUIRES: finite, at least 0.
std::string FourDigits(double value);

// Every how many labels one is drawn, so that labels of `label_size` points at a distance of
// `spacing` points keep a gap between them: at least 1.
size_t LabelStep(double spacing, double label_size);

}  // namespace latentd
