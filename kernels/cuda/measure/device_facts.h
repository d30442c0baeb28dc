// What the current device is, for reports.
#pragma once

#include <cstdint>
#include <string>

namespace latentd::cuda {

struct DeviceFacts {
  std::string name;
  int num_processors = 0;
  int64_t memory_bytes = 0;
  int64_t free_bytes = 0;  // at the call
  int64_t l2_bytes = 0;
  int driver_cuda = 0;  // newest CUDA that the driver knows: 1000 · major + 10 · minor
  int runtime_cuda = 0;
};

// REQUIRES: NumDevices() > 0. Aborts when a call fails.
DeviceFacts DescribeDevice();

}  // namespace latentd::cuda
