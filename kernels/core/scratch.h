// Working memory of operators: grows to the largest size asked for, then is reused.
#pragma once

#include <cstddef>
#include <cstdint>

namespace latentd {

// A 64-byte aligned buffer that never shrinks. Operators keep theirs as thread_local variables, so
// a steady step allocates nothing; a buffer is released when its thread ends. Not shared between
// threads, except that a parallel loop may borrow the buffer of the thread that started it.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // At least `bytes` bytes of unspecified content; invalidates what an earlier call returned.
  std::byte* Get(int64_t bytes);
  template <typename T>
  T* GetArray(int64_t count) {
    return reinterpret_cast<T*>(Get(count * static_cast<int64_t>(sizeof(T))));
  }

 private:
  std::byte* data_ = nullptr;
  int64_t capacity_ = 0;
};

}  // namespace latentd
