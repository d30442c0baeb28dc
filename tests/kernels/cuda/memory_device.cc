#include "kernels/cuda/device_memory.h"
#include "tests/kernels/cuda/memory.h"

namespace latentd::cuda {

bool OnDevice() { return true; }

struct Memory::State {
  explicit State(size_t bytes) : buffer(bytes) {}
  DeviceBuffer buffer;
};

Memory::Memory(const void* from, size_t bytes) : state_(new State(bytes)) {
  if (bytes > 0) state_->buffer.Upload(from);
}
Memory::~Memory() = default;
std::byte* Memory::data() const { return state_->buffer.data(); }
void Memory::Download(void* to) const {
  if (state_->buffer.bytes() > 0) state_->buffer.Download(to);
}

}  // namespace latentd::cuda
