// The cache of a benchmark: one block table per sequence, and what stands in it before timing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "cache/block_memory.h"
#include "cache/block_pool.h"
#include "engine/executor.h"
#include "engine/model/config.h"

namespace latentd {

// Owns references to its blocks; they go back at the end. Engine thread only; borrows pool,
// executor and memory.
class BenchCache {
 public:
  // memory: where the blocks lie; null: in the pool.
  BenchCache(BlockPool* pool, Executor* executor, int64_t step_tokens,
             BlockMemory* memory = nullptr);
  ~BenchCache();
  BenchCache(const BenchCache&) = delete;
  BenchCache& operator=(const BenchCache&) = delete;

  // Block tables for `sequences` of `tokens` tokens each at a width; what was there before is given
  // back. RESOURCE_EXHAUSTED with both numbers when the pool holds less.
  absl::Status Resize(int64_t sequences, int64_t tokens, const Width& width);
  // The first `depth` tokens of every sequence: computed for one, then copied to the others, each
  // in memory of its own.
  void Compute(int64_t depth);
  // The same from random numbers: c and kR of unit size, α near one. Lanes past the width are zero.
  void Synthesize(int64_t depth);

  std::span<const uint32_t> table(int64_t sequence) const {
    return tables_[static_cast<size_t>(sequence)];
  }
  int64_t num_sequences() const { return static_cast<int64_t>(tables_.size()); }

 private:
  void Release();
  void CopyBlock(uint32_t from, uint32_t to);

  BlockPool* const pool_;
  Executor* const executor_;
  const int64_t step_tokens_;
  BlockMemory* const memory_;
  Width width_;
  size_t cls_ = 0;                             // of the blocks, by the width
  std::vector<std::vector<uint32_t>> tables_;  // granules
};

// Fills every slot of a block as Synthesize says; the same seed gives the same bytes.
void SynthesizeBlock(std::byte* block, const BlockLayout& layout, int64_t width_kv, uint64_t seed);

}  // namespace latentd
