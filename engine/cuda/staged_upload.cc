#include "engine/cuda/staged_upload.h"

#include <algorithm>
#include <cstring>

namespace latentd {

StagedUpload::StagedUpload(size_t piece_bytes) : pieces_{Piece(piece_bytes), Piece(piece_bytes)} {}

void StagedUpload::Send(std::byte* to, const void* from, size_t bytes) {
  const auto* source = static_cast<const std::byte*>(from);
  while (bytes > 0) {
    Piece& piece = pieces_[next_];
    next_ ^= 1;
    const size_t count = std::min(bytes, piece.memory.bytes());
    piece.stream.Wait();  // for what it sent before
    std::memcpy(piece.memory.data(), source, count);
    cuda::CopyToDevice(piece.stream.get(), to, piece.memory.data(), count);
    to += count;
    source += count;
    bytes -= count;
  }
}

void StagedUpload::Finish() {
  for (const Piece& piece : pieces_) piece.stream.Wait();
}

}  // namespace latentd
