// Products of bf16 matrices by cuBLASLt. The library is no part of a program: it is looked for when
// it is asked for, and whatever does not ask runs without it.
//
// Sums are fp32, in whatever order the library takes for a shape: an output's bits may depend on
// the number of rows and the batch, which strict forbids and relaxed allows.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "kernels/cuda/library_product.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// Of the device that was current when it was made. One thread at a time. A failed call aborts with
// file and line.
class BlasLt {
 public:
  // What the library may use of device memory during a product; NVIDIA's advice for Hopper.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  // Null when the library cannot be loaded or does not start; then *why says what is in the way.
  static std::unique_ptr<BlasLt> TryMake(std::string* why);
  ~BlasLt();
  BlasLt(const BlasLt&) = delete;
  BlasLt& operator=(const BlasLt&) = delete;

  // Whether the library has an algorithm for the shape; without outputs there is nothing to have.
  // Asked once of each shape, later calls allocate nothing.
  bool Knows(const LibraryShape& shape);
  // Enqueues the product. Pointers are device memory, workspace kWorkspaceBytes of it from 256
  // bytes on; products on one stream may share it. May be captured, and allocates nothing.
  // REQUIRES: Knows(product.shape).
  void Multiply(CUstream_st* stream, const LibraryProduct& product, std::byte* workspace);

 private:
  struct State;
  explicit BlasLt(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace latentd::cuda
