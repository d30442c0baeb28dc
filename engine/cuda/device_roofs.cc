#include "engine/cuda/device_roofs.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/measure/traffic.h"

namespace latentd {
namespace {

// A thousand times what it takes to enqueue a kernel and to see that it is done.
constexpr double kLeastSeconds = 5e-3;

uint64_t ScratchBytes(const cuda::DeviceInfo& device) {
  return static_cast<uint64_t>(std::max(cuda::ReadScratchBytes(device.num_processors),
                                        cuda::MatrixScratchBytes(device.num_processors)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceRoofs>> DeviceRoofs::Create() {
  const cuda::DeviceInfo device = cuda::QueryDevice();
  const uint64_t bytes = kL2Times * device.l2_bytes + ScratchBytes(device);
  auto memory = cuda::DeviceBuffer::TryMake(bytes);
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("measuring what the device can do takes ", bytes,
                     " bytes of the device's memory, of which ", device.free_bytes,
                     " are free beside the weights; use a smaller model or a larger device"));
  }
  return std::unique_ptr<DeviceRoofs>(new DeviceRoofs(device, std::move(memory)));
}

DeviceRoofs::DeviceRoofs(const cuda::DeviceInfo& device, std::unique_ptr<cuda::DeviceBuffer> memory)
    : device_(device), memory_(std::move(memory)) {
  cuda::FillRandom(stream_.get(), memory_->data(), static_cast<int64_t>(memory_->bytes()), 1);
  stream_.Wait();
}

double DeviceRoofs::SecondsOf(const std::function<void(int n)>& enqueue) {
  for (int n = 1;; n *= 2) {
    const auto begin = std::chrono::steady_clock::now();
    enqueue(n);
    stream_.Wait();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (seconds >= kLeastSeconds) return seconds / n;
  }
}

Roofs DeviceRoofs::Measure() {
  const auto read_bytes = static_cast<int64_t>(kL2Times * device_.l2_bytes);
  std::byte* const scratch = memory_->data() + read_bytes;
  const double read = SecondsOf([&](int n) {
    for (int i = 0; i < n; ++i) {
      cuda::ReadBytes(stream_.get(), memory_->data(), read_bytes, scratch, device_.num_processors);
    }
  });
  double flops = 0;  // of one step
  const double step = SecondsOf([&](int n) {
    flops = cuda::MultiplyMatrices(stream_.get(), n, device_.num_processors, scratch) / n;
  });
  return {static_cast<double>(read_bytes) / read, flops / step};
}

}  // namespace latentd
