#include "kernels/cuda/device_memory.h"

#include "kernels/cuda/check.cuh"
#include "kernels/cuda/kernel_list.cuh"

namespace latentd::cuda {
namespace {

bool IsUsable(int device) {
  int major = 0, minor = 0;
  LATENTD_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  LATENTD_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return major == 9 && minor == 0;
}

int CountAll() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

}  // namespace

int NumDevices() {
  int usable = 0;
  for (int device = 0, count = CountAll(); device < count; ++device) usable += IsUsable(device);
  return usable;
}

bool UseDevice() {
  for (int device = 0, count = CountAll(); device < count; ++device) {
    if (!IsUsable(device)) continue;
    LATENTD_CUDA_CHECK(cudaSetDevice(device));
    return true;
  }
  return false;
}

std::vector<const void*>& KernelList() {
  static std::vector<const void*> list;
  return list;
}

void LoadKernels() {
  for (const void* kernel : KernelList()) {
    cudaFuncAttributes ignored;
    LATENTD_CUDA_CHECK(cudaFuncGetAttributes(&ignored, kernel));  // which loads it
  }
}

DeviceInfo QueryDevice() {
  int device = 0;
  LATENTD_CUDA_CHECK(cudaGetDevice(&device));
  cudaDeviceProp properties;
  LATENTD_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  size_t free = 0, total = 0;
  LATENTD_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return {properties.name, properties.multiProcessorCount,
          static_cast<uint64_t>(properties.l2CacheSize), free, total};
}

DeviceBuffer::DeviceBuffer(size_t bytes) : bytes_(bytes) {
  if (bytes > 0) LATENTD_CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&data_), bytes));
}

std::unique_ptr<DeviceBuffer> DeviceBuffer::TryMake(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = bytes > 0 ? cudaMalloc(&data, bytes) : cudaSuccess;
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not left behind for the next call
    return nullptr;
  }
  LATENTD_CUDA_CHECK(error);
  return std::unique_ptr<DeviceBuffer>(new DeviceBuffer(static_cast<std::byte*>(data), bytes));
}

DeviceBuffer::~DeviceBuffer() { cudaFree(data_); }

void DeviceBuffer::Upload(const void* from) {
  LATENTD_CUDA_CHECK(cudaMemcpy(data_, from, bytes_, cudaMemcpyHostToDevice));
  // From pageable memory that returns once all is staged, with the last bytes still on their way.
  LATENTD_CUDA_CHECK(cudaStreamSynchronize(nullptr));
}

void DeviceBuffer::Download(void* to) const {
  LATENTD_CUDA_CHECK(cudaMemcpy(to, data_, bytes_, cudaMemcpyDeviceToHost));
}

Stream::Stream() { LATENTD_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }

Stream::~Stream() {
  cudaStreamSynchronize(stream_);
  cudaStreamDestroy(stream_);
}

void Stream::Wait() const { LATENTD_CUDA_CHECK(cudaStreamSynchronize(stream_)); }

std::unique_ptr<Graph> Graph::TryCapture(CUstream_st* stream,
                                         const std::function<void()>& enqueue) {
  // Relaxed: a kernel's code may be loaded at its first launch, which may be this one.
  LATENTD_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  enqueue();
  cudaGraph_t recorded = nullptr;
  LATENTD_CUDA_CHECK(cudaStreamEndCapture(stream, &recorded));
  cudaGraphExec_t kernels = nullptr;
  cudaError_t error = cudaGraphInstantiate(&kernels, recorded, 0);
  LATENTD_CUDA_CHECK(cudaGraphDestroy(recorded));
  // Memory that the first launch would take is taken here, where its lack is no fault.
  if (error == cudaSuccess) error = cudaGraphUpload(kernels, stream);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not left behind for the next call
    if (kernels != nullptr) LATENTD_CUDA_CHECK(cudaGraphExecDestroy(kernels));
    return nullptr;
  }
  LATENTD_CUDA_CHECK(error);
  return std::unique_ptr<Graph>(new Graph(kernels));
}

Graph::~Graph() { cudaGraphExecDestroy(kernels_); }

void Graph::Launch(CUstream_st* stream) const {
  LATENTD_CUDA_CHECK(cudaGraphLaunch(kernels_, stream));
}

PinnedBuffer::PinnedBuffer(size_t bytes) : bytes_(bytes) {
  if (bytes > 0) LATENTD_CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&data_), bytes));
}

PinnedBuffer::~PinnedBuffer() { cudaFreeHost(data_); }

void CopyToDevice(CUstream_st* stream, std::byte* to, const std::byte* from, size_t bytes) {
  LATENTD_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream));
}

void CopyToHost(CUstream_st* stream, std::byte* to, const std::byte* from, size_t bytes) {
  LATENTD_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream));
}

void CopyOnDevice(CUstream_st* stream, std::byte* to, const std::byte* from, size_t bytes) {
  LATENTD_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream));
}

}  // namespace latentd::cuda
