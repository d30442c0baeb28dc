// Memory of the current device, for code that includes no CUDA.
#pragma once

#include <cstddef>

namespace latentd::cuda {

// Devices that kernels of this build run on (compute capability 9.0); 0 also without a driver.
int NumDevices();

// Owns `bytes` of the current device's memory. Aborts when there is not enough. Any thread, one at
// a time.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  // Whole buffer, after all work of the default stream; return when done.
  void Upload(const void* from);
  void Download(void* to) const;

 private:
  std::byte* data_ = nullptr;
  size_t bytes_;
};

}  // namespace latentd::cuda
