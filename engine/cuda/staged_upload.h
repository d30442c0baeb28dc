// Host memory, mapped files too, on its way to the device.
#pragma once

#include <array>
#include <cstddef>

#include "kernels/cuda/device_memory.h"

namespace latentd {

// Copies through two pinned pieces: one is filled while the other is being sent. One thread.
class StagedUpload {
 public:
  explicit StagedUpload(size_t piece_bytes);

  // `from` may be changed on return, `to` is written at the latest when Finish returns.
  void Send(std::byte* to, const void* from, size_t bytes);
  void Finish();

 private:
  struct Piece {
    explicit Piece(size_t bytes) : memory(bytes) {}
    cuda::PinnedBuffer memory;
    cuda::Stream stream;
  };
  std::array<Piece, 2> pieces_;
  size_t next_ = 0;
};

}  // namespace latentd
