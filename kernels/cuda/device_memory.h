// The device and its memory, for code that includes no CUDA. A program without kernels may be
// linked with an emulation of both (tests/kernels/cuda).
//
// A failed call aborts with file and line, and so does the first wait for work that failed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

struct CUgraphExec_st;  // cudaGraphExec_t is a pointer to it
struct CUstream_st;     // cudaStream_t is a pointer to it

namespace latentd::cuda {

// Devices that kernels of this build run on (compute capability 9.0); 0 also without a driver.
int NumDevices();

// Makes the first of these the calling thread's current device: before anything else that a thread
// does with devices. False when there is none.
bool UseDevice();

// Loads the code of all kernels of the program onto the current device. Otherwise each is loaded at
// its first launch, when there may be no memory left for it, or in the middle of a capture.
void LoadKernels();

// Of the current device.
struct DeviceInfo {
  std::string name;        // "NVIDIA H100 80GB HBM3"
  int num_processors = 0;  // multiprocessors
  uint64_t l2_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;
};
DeviceInfo QueryDevice();

// Owns `bytes` of the current device's memory, contents undefined. Any thread, one at a time.
class DeviceBuffer {
 public:
  // Aborts when there is not enough.
  explicit DeviceBuffer(size_t bytes);
  // Null when there is not enough.
  static std::unique_ptr<DeviceBuffer> TryMake(size_t bytes);
  ~DeviceBuffer();
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  // Whole buffer, after all work of the default stream; return when done.
  void Upload(const void* from);
  void Download(void* to) const;

 private:
  DeviceBuffer(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* data_ = nullptr;
  size_t bytes_;
};

// Owns a queue of work of the current device; destroyed after that work is done. One thread at a
// time.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  CUstream_st* get() const { return stream_; }
  // Returns when all work enqueued so far is done.
  void Wait() const;

 private:
  CUstream_st* stream_ = nullptr;
};

// Owns kernels that were recorded once and run by one call, as often as wanted. One thread at a
// time; destroyed after its runs are done.
class Graph {
 public:
  // Records the kernels that `enqueue` puts on the stream, and runs none. It may enqueue nothing
  // else: no copy, no wait. Their arguments, pointers too, stay what they are now; memory that they
  // point to is read as it is at each run. Null when the device has no memory for them.
  static std::unique_ptr<Graph> TryCapture(CUstream_st* stream,
                                           const std::function<void()>& enqueue);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Enqueues them all, in the order in which they were recorded.
  void Launch(CUstream_st* stream) const;

 private:
  explicit Graph(CUgraphExec_st* kernels) : kernels_(kernels) {}

  CUgraphExec_st* kernels_;
};

// Owns host memory that a device copies from and to beside other work. Any thread, one at a time.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_;
};

// Enqueue a copy between device memory and a PinnedBuffer. Both stay, and the host neither changes
// what is sent nor reads what is fetched, until the stream has been waited for.
void CopyToDevice(CUstream_st* stream, std::byte* to, const std::byte* from, size_t bytes);
void CopyToHost(CUstream_st* stream, std::byte* to, const std::byte* from, size_t bytes);
// Between two places of device memory that do not overlap.
void CopyOnDevice(CUstream_st* stream, std::byte* to, const std::byte* from, size_t bytes);

}  // namespace latentd::cuda
