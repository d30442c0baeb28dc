// Times work on the device with a cold L2, and the ceilings beside it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/measure/device_facts.h"

namespace latentd::bench {

// Best rates of the device, each the median of several runs.
struct Ceilings {
  double copy_bytes_per_second = 0;  // bytes read and bytes written
  double read_bytes_per_second = 0;
  double flops_per_second = 0;  // bf16 products, fp32 sums
};
Ceilings MeasureCeilings(const cuda::DeviceFacts& device);
// Device memory that MeasureCeilings takes for its time.
int64_t CeilingBytes();

// Evicts what the L2 holds: writes a buffer four times as large, then reads another, so that no
// changed line is left that would be written back during what is timed.
class ColdCache {
 public:
  explicit ColdCache(const cuda::DeviceFacts& device);
  void Enqueue();
  static int64_t Bytes(const cuda::DeviceFacts& device);

 private:
  int num_processors_;
  cuda::DeviceBuffer written_, read_, scratch_;
  uint32_t round_ = 0;
};

// How a row is timed, a peer's beside ours too.
constexpr int kLeastRounds = 20;
constexpr double kSecondsOfRow = 1.5;

// seconds[w][i]: round i of work w. The works take turns, each with a cold cache; at least
// `least_rounds`, and about `seconds_in_all` of rounds. A work enqueues on the default stream.
std::vector<std::vector<double>> TimeInTurn(std::span<const std::function<void()>> works,
                                            ColdCache& cold, int least_rounds,
                                            double seconds_in_all);

}  // namespace latentd::bench
