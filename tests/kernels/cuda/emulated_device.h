// The emulated device, as tests set it up: device_memory.h over host memory. Its memory is NaN
// where nothing was written. Copies from the device arrive when the stream is waited for, and until
// then their place holds NaN; a source that was changed before that aborts. So does a copy or a
// wait while a graph is captured.
#pragma once

#include <cstdint>
#include <functional>

struct CUstream_st;

namespace latentd::cuda {

struct LibraryShape;

// What the device has; 1 GiB at the start.
void SetEmulatedMemory(uint64_t total_bytes);
// Multiprocessors: 3 at the start, of which no two are paired (PairsTiles).
void SetEmulatedProcessors(int num_processors);
// Bytes of all buffers that stand now.
uint64_t EmulatedBytesInUse();
// How often memory of the device was taken since the start.
uint64_t EmulatedAllocations();
// How many graphs were captured since the start. Each takes kEmulatedGraphBytes of the device.
uint64_t EmulatedCaptures();
constexpr uint64_t kEmulatedGraphBytes = 64 << 10;
// Kernels that ran since the start and were in no graph.
uint64_t EmulatedKernelsAlone();

// What an emulated operator does with a kernel: runs it now, or, while the stream is captured, at
// each run of the graph. So a kernel keeps by value what a device is given by value, and no more.
void Enqueue(CUstream_st* stream, std::function<void()> kernel);
// Copies to the host since the start.
struct EmulatedFetches {
  uint64_t copies = 0, bytes = 0;
};
EmulatedFetches FetchedFromEmulated();
// Whether cuBLASLt can be loaded; it can at the start.
void SetEmulatedLibrary(bool is_there);
// Shapes that it has no algorithm for, besides outputs at odd places; none at the start.
void LeaveOutOfEmulatedLibrary(std::function<bool(const LibraryShape&)> which);
// Products that it has made since the start, and how often rows were rounded for one.
uint64_t EmulatedLibraryProducts();
uint64_t EmulatedRoundings();

}  // namespace latentd::cuda
