// The emulated device, as tests set it up: device_memory.h over host memory. Its memory is NaN
// where nothing was written. Copies from the device arrive when the stream is waited for, and until
// then their place holds NaN; a source that was changed before that aborts.
#pragma once

#include <cstdint>

namespace latentd::cuda {

// What the device has; 1 GiB at the start.
void SetEmulatedMemory(uint64_t total_bytes);
// Bytes of all buffers that stand now.
uint64_t EmulatedBytesInUse();
// How often memory of the device was taken since the start.
uint64_t EmulatedAllocations();

}  // namespace latentd::cuda
