// What the device can do at best, measured beside what the kernels do.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/core/roofs.h"
#include "kernels/cuda/device_memory.h"

namespace latentd {

// Owns the memory that it reads. Engine thread only, made on a thread that has called
// cuda::UseDevice.
class DeviceRoofs {
 public:
  // RESOURCE_EXHAUSTED when the device has less free than kL2Times its L2.
  static absl::StatusOr<std::unique_ptr<DeviceRoofs>> Create();

  // Random bytes read that no cache holds, and bf16 products of random operands in shared memory.
  // By the host's clock, around enough work that enqueuing it does not count. The device must be
  // idle.
  Roofs Measure();

 private:
  static constexpr uint64_t kL2Times = 16;

  DeviceRoofs(const cuda::DeviceInfo& device, std::unique_ptr<cuda::DeviceBuffer> memory);

  // Of one run; enqueue(n) enqueues n of them.
  double SecondsOf(const std::function<void(int n)>& enqueue);

  const cuda::DeviceInfo device_;
  const std::unique_ptr<cuda::DeviceBuffer> memory_;  // what is read, then what kernels write
  cuda::Stream stream_;
};

}  // namespace latentd
