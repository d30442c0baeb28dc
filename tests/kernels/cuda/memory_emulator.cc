#include <cstring>

#include "tests/kernels/cuda/memory.h"

namespace latentd::cuda {

bool OnDevice() { return false; }

struct Memory::State {
  std::vector<std::byte> bytes;
};

Memory::Memory(const void* from, size_t bytes) : state_(new State) {
  const auto* begin = static_cast<const std::byte*>(from);
  state_->bytes.assign(begin, begin + bytes);
}
Memory::~Memory() = default;
std::byte* Memory::data() const { return state_->bytes.data(); }
void Memory::Download(void* to) const {
  if (!state_->bytes.empty()) std::memcpy(to, state_->bytes.data(), state_->bytes.size());
}

}  // namespace latentd::cuda
