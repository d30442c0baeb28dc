// Blocks of the cache in device memory, filled by the host.
#pragma once

#include "cache/block_memory.h"
#include "engine/cuda/cuda_transformer.h"
#include "engine/cuda/staged_upload.h"
#include "kernels/cuda/device_memory.h"

namespace latentd {

// Owns the pinned memory through which blocks go; borrows the pool. On the thread that has called
// cuda::UseDevice.
class DeviceBlocks : public BlockMemory {
 public:
  explicit DeviceBlocks(const DevicePool& pool);

  void Write(uint32_t granule, std::span<const std::byte> from) override;
  void Copy(uint32_t from, uint32_t to, int64_t bytes) override;
  void Finish() override;

 private:
  // Where `bytes` from a granule on lie.
  std::byte* Place(uint32_t granule, int64_t bytes) const;

  const DevicePool pool_;
  StagedUpload upload_;
  cuda::Stream copies_;
};

}  // namespace latentd
