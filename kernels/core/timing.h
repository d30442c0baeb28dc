// Wall-clock timing for the benchmarks.
#pragma once

#include <algorithm>
#include <chrono>

namespace latentd {

// The shortest of many runs, in seconds: half a second of them, at least five. Other work on the
// machine can only lengthen a run.
template <typename Run>
double BestSeconds(const Run& run) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  double best = 1e30;
  for (int i = 0; i < 5 || Clock::now() - begin < std::chrono::milliseconds(500); ++i) {
    const auto start = Clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

}  // namespace latentd
