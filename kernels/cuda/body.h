// How the plain kernels of this folder are written, so that the CPU can run them too.
//
// A body is a struct of plain values, the kernel's only parameter, with
//   static constexpr int kThreads       threads of a block
//   struct Shared                       shared memory of a block, uninitialised at the start
//   struct Thread                       what a thread keeps between phases, uninitialised too
//   int64_t NumBlocks()                 blocks of the (one-dimensional) grid
//   int NumPhases()                     the same for every block and thread
//   void Run(phase, block, thread, own, shared)
// A barrier of the block stands between two phases. Threads run a phase, and blocks the grid, in
// any order. launch.cuh binds a body to the device; tests/kernels/cuda/emulated_grid.h shuffles it
// on the CPU.
#pragma once

#include <cstdint>

#include "kernels/core/check.h"
#include "kernels/core/rounding.h"
#include "kernels/core/tensor.h"
#include "kernels/cuda/host_device.h"

namespace latentd::cuda {

// A broken invariant that only the kernel can see: a trap, which fails the stream.
LATENTD_HD inline void Require(bool condition) {
#if defined(__CUDA_ARCH__)
  if (!condition) __trap();
#else
  LATENTD_CHECK(condition);
#endif
}

// MatrixView::row on both sides.
template <typename T>
LATENTD_HD T* RowOf(const MatrixView<T>& view, int64_t row) {
  return view.data + row * view.ld;
}

// One thread for each element of a matrix, in one phase.
struct ElementGrid {
  static constexpr int kThreads = 256;
  struct Shared {};
  struct Thread {};

  int64_t rows = 0;
  int64_t cols = 0;

  int64_t NumBlocks() const { return CeilDiv(rows * cols, kThreads); }
  LATENTD_HD int NumPhases() const { return 1; }
  // Row-major number of the thread's element; not below rows · cols: none.
  LATENTD_HD static int64_t Element(int64_t block, int thread) { return block * kThreads + thread; }
};

}  // namespace latentd::cuda
