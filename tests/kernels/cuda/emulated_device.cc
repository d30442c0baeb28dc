#include "tests/kernels/cuda/emulated_device.h"

#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/cuda/device_memory.h"

// Copies under way, and the graph that is captured, if one is.
struct CUstream_st {
  struct Sent {
    const std::byte* from;
    std::vector<std::byte> bytes;  // as they were
  };
  struct Fetched {
    std::byte* to;
    std::vector<std::byte> bytes;
  };
  std::vector<Sent> sent;
  std::vector<Fetched> fetched;
  CUgraphExec_st* capture = nullptr;
};

struct CUgraphExec_st {
  std::vector<std::function<void()>> kernels;
};

namespace latentd::cuda {
namespace {

uint64_t total_bytes = uint64_t{1} << 30;
int num_processors = 3;
uint64_t bytes_in_use = 0;
uint64_t allocations = 0;
uint64_t captures = 0;
uint64_t kernels_alone = 0;
EmulatedFetches fetches;

std::byte* Allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  auto* data = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{256}));
  std::memset(data, 0xff, bytes);
  return data;
}
void Free(std::byte* data) { ::operator delete (data, std::align_val_t{256}); }

}  // namespace

void SetEmulatedMemory(uint64_t total) { total_bytes = total; }
void SetEmulatedProcessors(int number) { num_processors = number; }
uint64_t EmulatedBytesInUse() { return bytes_in_use; }
uint64_t EmulatedAllocations() { return allocations; }
uint64_t EmulatedCaptures() { return captures; }
uint64_t EmulatedKernelsAlone() { return kernels_alone; }

void Enqueue(CUstream_st* stream, std::function<void()> kernel) {
  if (stream != nullptr && stream->capture != nullptr) {
    stream->capture->kernels.push_back(std::move(kernel));
    return;
  }
  ++kernels_alone;
  kernel();
}
EmulatedFetches FetchedFromEmulated() { return fetches; }

int NumDevices() { return 1; }
bool UseDevice() { return true; }
void LoadKernels() {}
DeviceInfo QueryDevice() {
  return {"emulated", num_processors, 1024, total_bytes - bytes_in_use, total_bytes};
}

DeviceBuffer::DeviceBuffer(size_t bytes) : bytes_(bytes) {
  LATENTD_CHECK(bytes <= total_bytes - bytes_in_use);
  data_ = Allocate(bytes);
  bytes_in_use += bytes;
  ++allocations;
}
std::unique_ptr<DeviceBuffer> DeviceBuffer::TryMake(size_t bytes) {
  if (bytes > total_bytes - bytes_in_use) return nullptr;
  return std::make_unique<DeviceBuffer>(bytes);
}
DeviceBuffer::~DeviceBuffer() {
  Free(data_);
  bytes_in_use -= bytes_;
}
void DeviceBuffer::Upload(const void* from) {
  if (bytes_ > 0) std::memcpy(data_, from, bytes_);
}
void DeviceBuffer::Download(void* to) const {
  if (bytes_ > 0) std::memcpy(to, data_, bytes_);
}

Stream::Stream() : stream_(new CUstream_st) {}
Stream::~Stream() {
  Wait();
  delete stream_;
}
void Stream::Wait() const {
  LATENTD_CHECK(stream_->capture == nullptr);
  for (const CUstream_st::Sent& copy : stream_->sent) {
    LATENTD_CHECK(std::memcmp(copy.from, copy.bytes.data(), copy.bytes.size()) == 0 &&
                  "a source was changed before its copy was done");
  }
  for (const CUstream_st::Fetched& copy : stream_->fetched) {
    std::memcpy(copy.to, copy.bytes.data(), copy.bytes.size());
  }
  stream_->sent.clear();
  stream_->fetched.clear();
}

std::unique_ptr<Graph> Graph::TryCapture(CUstream_st* stream,
                                         const std::function<void()>& enqueue) {
  auto recorded = std::make_unique<CUgraphExec_st>();
  LATENTD_CHECK(stream->capture == nullptr);
  stream->capture = recorded.get();
  enqueue();
  stream->capture = nullptr;
  if (kEmulatedGraphBytes > total_bytes - bytes_in_use) return nullptr;
  bytes_in_use += kEmulatedGraphBytes;
  ++captures;
  return std::unique_ptr<Graph>(new Graph(recorded.release()));
}
Graph::~Graph() {
  delete kernels_;
  bytes_in_use -= kEmulatedGraphBytes;
}
void Graph::Launch(CUstream_st* stream) const {
  LATENTD_CHECK(stream->capture == nullptr);
  for (const std::function<void()>& kernel : kernels_->kernels) kernel();
}

PinnedBuffer::PinnedBuffer(size_t bytes) : data_(Allocate(bytes)), bytes_(bytes) {}
PinnedBuffer::~PinnedBuffer() { Free(data_); }

void CopyToDevice(CUstream_st* stream, std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes == 0) return;
  LATENTD_CHECK(stream->capture == nullptr);
  stream->sent.push_back({from, {from, from + bytes}});
  std::memcpy(to, from, bytes);
}

void CopyToHost(CUstream_st* stream, std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes == 0) return;
  LATENTD_CHECK(stream->capture == nullptr);
  stream->fetched.push_back({to, {from, from + bytes}});
  ++fetches.copies;
  fetches.bytes += bytes;
  std::memset(to, 0xff, bytes);
}

void CopyOnDevice(CUstream_st*, std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

}  // namespace latentd::cuda
