#include "bench/price/price.h"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <sstream>
#include <string>

namespace latentd {
namespace {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

Price ComparePrice(const std::function<void()>& base, const std::function<void()>& other,
                   int64_t rounds) {
  const auto seconds_of = [](const std::function<void()>& run) {
    const std::clock_t begin = std::clock();
    run();
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  std::vector<double> base_seconds, other_seconds, ratios;
  seconds_of(base);  // first touch
  seconds_of(other);
  for (int64_t round = 0; round < rounds; ++round) {
    const bool first = round % 2 == 0;  // each goes first as often
    double a = first ? seconds_of(base) : 0;
    const double b = seconds_of(other);
    if (!first) a = seconds_of(base);
    base_seconds.push_back(a);
    other_seconds.push_back(b);
    ratios.push_back(b / a);
  }
  std::sort(ratios.begin(), ratios.end());
  return {1e3 * Median(base_seconds), 1e3 * Median(other_seconds), Median(ratios), ratios.front(),
          ratios.back()};
}

Price ComparePrice(ModelExecutor* base, ModelExecutor* other, const BenchCache& cache,
                   int64_t step_tokens, const BenchWork& work, int64_t rounds) {
  return ComparePrice([&] { RunWork(base, cache, step_tokens, work); },
                      [&] { RunWork(other, cache, step_tokens, work); }, rounds);
}

std::vector<int64_t> Numbers(const char* text) {
  std::vector<int64_t> out;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) out.push_back(std::atoll(item.c_str()));
  return out;
}

}  // namespace latentd
