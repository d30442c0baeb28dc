#include "kernels/core/scratch.h"

#include <new>

namespace latentd {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

Scratch::~Scratch() { ::operator delete(data_, kAlignment); }

std::byte* Scratch::Get(int64_t bytes) {
  if (bytes > capacity_) {
    ::operator delete(data_, kAlignment);
    data_ = nullptr;  // in case the next line throws
    capacity_ = 0;
    data_ = static_cast<std::byte*>(::operator new(static_cast<size_t>(bytes), kAlignment));
    capacity_ = bytes;
  }
  return data_;
}

}  // namespace latentd
