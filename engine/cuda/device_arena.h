// One allocation of device memory, cut into pieces.
#pragma once

#include <cstddef>
#include <cstdint>

namespace latentd {

// Gives out pieces that begin on 256 bytes, one after the other. Without memory it counts what they
// would take, and every piece is null: the same code first measures and then places. Borrows the
// memory.
class DeviceArena {
 public:
  DeviceArena() = default;
  explicit DeviceArena(std::byte* memory) : memory_(memory) {}

  // `count` elements, uninitialised; null when there are none.
  template <typename T>
  T* Take(int64_t count) {
    const size_t at = bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    return memory_ == nullptr || count == 0 ? nullptr : reinterpret_cast<T*>(memory_ + at);
  }
  size_t bytes() const { return bytes_; }  // so far

 private:
  static constexpr size_t kAlign = 256;

  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace latentd
