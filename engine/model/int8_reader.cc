// Matrices that become int8 as they are read.
#include <cstdlib>

#include "engine/model/weight_reader.h"
#include "kernels/core/check.h"
#include "kernels/core/large_memory.h"
#include "kernels/quantise.h"

namespace latentd {
namespace {

// Large matrices begin on a huge page, which spares a step some address translation. They are
// spread over the machine's nodes, since one thread converts them all.
std::byte* Allocate(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const size_t whole = (bytes + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, whole);
  LATENTD_CHECK(memory != nullptr);
  if (alignment == kHugePage) AdviseLargeMemory(memory, whole);
  return static_cast<std::byte*>(memory);
}

}  // namespace

WeightView WeightReader::Served(const WeightView& stored) {
  if (!options_.int8 || !stored || options_.describe_only) return stored;
  if (IsQuantised(stored.dtype)) {
    ++num_left_quantised_;
    return stored;
  }
  const auto bytes = static_cast<size_t>(Int8Bytes(stored.rows, stored.cols));
  storage_->int8.emplace_back(Allocate(bytes));
  ++num_int8_;
  int8_bytes_ += bytes;
  return QuantiseToInt8(stored, storage_->int8.back().get());
}

}  // namespace latentd
