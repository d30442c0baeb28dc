#include "engine/cuda/device_blocks.h"

#include "cache/block_layout.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

constexpr size_t kPieceBytes = size_t{8} << 20;

}  // namespace

DeviceBlocks::DeviceBlocks(const DevicePool& pool) : pool_(pool), upload_(kPieceBytes) {}

std::byte* DeviceBlocks::Place(uint32_t granule, int64_t bytes) const {
  const int64_t at = int64_t{granule} * kGranuleBytes;
  LATENTD_CHECK(at + bytes <= pool_.bytes);
  return pool_.base + at;
}

void DeviceBlocks::Write(uint32_t granule, std::span<const std::byte> from) {
  upload_.Send(Place(granule, static_cast<int64_t>(from.size())), from.data(), from.size());
}

void DeviceBlocks::Copy(uint32_t from, uint32_t to, int64_t bytes) {
  cuda::CopyOnDevice(copies_.get(), Place(to, bytes), Place(from, bytes),
                     static_cast<size_t>(bytes));
}

void DeviceBlocks::Finish() {
  upload_.Finish();
  copies_.Wait();
}

}  // namespace latentd
