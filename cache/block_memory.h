// The bytes behind a pool's blocks, for whoever fills blocks past an executor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace latentd {

// Blocks are named by their granules. Engine thread only, and no executor runs between a write or a
// copy and Finish.
class BlockMemory {
 public:
  virtual ~BlockMemory() = default;

  // The block begins with these bytes. `from` may be changed on return.
  virtual void Write(uint32_t granule, std::span<const std::byte> from) = 0;
  // `to` begins with the first `bytes` of `from`, as they were at the last Finish.
  virtual void Copy(uint32_t from, uint32_t to, int64_t bytes) = 0;
  // Returns when all is where it belongs.
  virtual void Finish() = 0;
};

}  // namespace latentd
