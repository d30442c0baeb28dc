// Memory that the operators under test run in: the host's (memory_emulator.cc) or the device's
// (memory_device.cc). The program is linked with one of them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/core/tensor.h"

namespace latentd::cuda {

// Whether that is a device, where a suite can afford more.
bool OnDevice();

class Memory {
 public:
  Memory(const void* from, size_t bytes);
  ~Memory();
  std::byte* data() const;
  void Download(void* to) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A copy of a vector where the operators run.
template <typename T>
class Array {
 public:
  explicit Array(const std::vector<T>& from)
      : size_(from.size()), memory_(from.data(), from.size() * sizeof(T)) {}
  T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  MatrixView<T> View(int64_t rows, int64_t cols, int64_t ld) const {
    return {data(), rows, cols, ld};
  }
  MatrixView<T> View(int64_t rows, int64_t cols) const { return View(rows, cols, cols); }
  std::vector<T> Read() const {
    std::vector<T> to(size_);
    memory_.Download(to.data());
    return to;
  }

 private:
  size_t size_;
  Memory memory_;
};

}  // namespace latentd::cuda
