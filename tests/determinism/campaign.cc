// The full product of batch, chunk, threads, pressure and widths, or an evenly spread part of it:
//   latentd_determinism_campaign [PART OF [MINUTES]]     the PART-th of OF equal parts; 0 1 is all
// Prints progress to stderr, every difference, and a summary; exits 1 when there was a difference.
// With MINUTES it begins no further setting after that time; the summary says how many there were.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/determinism/workload.h"

namespace latentd {
namespace {

// Coprime to the size of the product: multiples of it visit all settings, and any run of them meets
// the values of every axis evenly.
constexpr uint64_t kSpread = 1'000'003;

int RunCampaign(uint64_t part, uint64_t of, std::chrono::minutes limit) {
  Matrix matrix(MatrixModel());
  const uint64_t size = ProductSize();
  uint64_t settings = 0, sequences = 0, differences = 0, preemptions = 0, hits = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t place = size * part / of; place < size * (part + 1) / of; ++place) {
    if (std::chrono::steady_clock::now() - begin > limit) break;
    const Setting setting = ProductSetting(place * kSpread % size);
    if (const auto difference = matrix.Check(setting)) {
      std::printf("%s: %s\n", Describe(setting).c_str(), difference->c_str());
      ++differences;
    }
    ++settings;
    sequences += static_cast<uint64_t>(setting.at(AxisId::kBatch));
    preemptions += matrix.facts().preemptions;
    hits += matrix.facts().prefix_hits;
    if (settings % 100 == 0) {
      std::fprintf(stderr, "%llu settings, %llu differences\n",
                   static_cast<unsigned long long>(settings),
                   static_cast<unsigned long long>(differences));
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  std::printf(
      "part %llu of %llu, product of %llu: %llu settings, %llu sequences, %llu preemptions, %llu "
      "prefix tokens reused, %llu differences, %.0f s, path %s, solo digest %s\n",
      static_cast<unsigned long long>(part), static_cast<unsigned long long>(of),
      static_cast<unsigned long long>(size), static_cast<unsigned long long>(settings),
      static_cast<unsigned long long>(sequences), static_cast<unsigned long long>(preemptions),
      static_cast<unsigned long long>(hits), static_cast<unsigned long long>(differences),
      seconds.count(), std::string(Name(BestCpuPath())).c_str(), matrix.Fingerprint().c_str());
  return differences == 0 ? 0 : 1;
}

}  // namespace
}  // namespace latentd

int main(int argc, char** argv) {
  const uint64_t part = argc >= 3 ? std::strtoull(argv[1], nullptr, 10) : 0;
  const uint64_t of = argc >= 3 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const long minutes = argc == 4 ? std::strtol(argv[3], nullptr, 10) : 1'000'000;
  if (argc == 2 || argc > 4 || of == 0 || part >= of || minutes <= 0) {
    std::fprintf(stderr, "usage: latentd_determinism_campaign [PART OF [MINUTES]]\n");
    return 2;
  }
  return latentd::RunCampaign(part, of, std::chrono::minutes(minutes));
}
