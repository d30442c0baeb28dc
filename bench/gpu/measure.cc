#include "bench/gpu/measure.h"

#include <algorithm>
#include <cmath>

#include "bench/gpu/quantile.h"
#include "kernels/cuda/measure/stopwatch.h"
#include "kernels/cuda/measure/traffic.h"

namespace latentd::bench {
namespace {

constexpr int64_t kCopyBytes = int64_t{2} << 30;  // forty times an H100's L2
constexpr int kCeilingRounds = 15;
constexpr int kMatrixSteps = 4096;  // 1.2 ms at 1.8 GHz
constexpr int kWarmUps = 3;
constexpr int kMostRounds = 200;

// Of rounds after the warm-up.
double MedianSeconds(int rounds, const std::function<void()>& work) {
  cuda::Stopwatch watch(rounds);
  for (int i = 0; i < kWarmUps; ++i) work();
  for (int i = 0; i < rounds; ++i) {
    watch.Start(nullptr, i);
    work();
    watch.Stop(nullptr, i);
  }
  std::vector<double> seconds;
  for (int i = 0; i < rounds; ++i) seconds.push_back(watch.Seconds(i));
  return Quantile(std::move(seconds), 0.5);
}

}  // namespace

int64_t CeilingBytes() { return 2 * kCopyBytes; }

Ceilings MeasureCeilings(const cuda::DeviceFacts& device) {
  const cuda::DeviceBuffer from(static_cast<size_t>(kCopyBytes));
  const cuda::DeviceBuffer to(static_cast<size_t>(kCopyBytes));
  cuda::FillRandom(nullptr, from.data(), kCopyBytes, 3);
  const double copy = MedianSeconds(
      kCeilingRounds, [&] { cuda::CopyBytes(nullptr, from.data(), to.data(), kCopyBytes); });
  const double read = MedianSeconds(kCeilingRounds, [&] {
    cuda::ReadBytes(nullptr, from.data(), kCopyBytes, to.data(), device.num_processors);
  });
  double flops = 0;
  const double multiply = MedianSeconds(kCeilingRounds, [&] {
    flops = cuda::MultiplyMatrices(nullptr, kMatrixSteps, device.num_processors, to.data());
  });
  return {2.0 * kCopyBytes / copy, kCopyBytes / read, flops / multiply};
}

int64_t ColdCache::Bytes(const cuda::DeviceFacts& device) { return 8 * device.l2_bytes; }

ColdCache::ColdCache(const cuda::DeviceFacts& device)
    : num_processors_(device.num_processors),
      written_(static_cast<size_t>(Bytes(device) / 2)),
      read_(static_cast<size_t>(Bytes(device) / 2)),
      scratch_(static_cast<size_t>(cuda::ReadScratchBytes(device.num_processors))) {
  cuda::FillRandom(nullptr, read_.data(), static_cast<int64_t>(read_.bytes()), 4);
}

void ColdCache::Enqueue() {
  cuda::FillRandom(nullptr, written_.data(), static_cast<int64_t>(written_.bytes()), round_++);
  cuda::ReadBytes(nullptr, read_.data(), static_cast<int64_t>(read_.bytes()), scratch_.data(),
                  num_processors_);
}

std::vector<std::vector<double>> TimeInTurn(std::span<const std::function<void()>> works,
                                            ColdCache& cold, int least_rounds,
                                            double seconds_in_all) {
  const auto run = [&](int rounds) {
    const int num_works = static_cast<int>(works.size());
    cuda::Stopwatch watch(rounds * num_works), whole(1);
    whole.Start(nullptr, 0);
    for (int lap = 0; lap < rounds * num_works; ++lap) {
      cold.Enqueue();
      watch.Start(nullptr, lap);
      works[static_cast<size_t>(lap % num_works)]();
      watch.Stop(nullptr, lap);
    }
    whole.Stop(nullptr, 0);
    std::vector<std::vector<double>> seconds(works.size());
    for (int lap = 0; lap < rounds * num_works; ++lap) {
      seconds[static_cast<size_t>(lap % num_works)].push_back(watch.Seconds(lap));
    }
    return std::pair(std::move(seconds), whole.Seconds(0));
  };
  const double of_round = run(kWarmUps).second / kWarmUps;
  const double fitting = std::clamp(seconds_in_all / of_round, 1.0, double{kMostRounds});
  return run(std::max(least_rounds, static_cast<int>(fitting))).first;
}

}  // namespace latentd::bench
