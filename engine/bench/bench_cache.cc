#include "engine/bench/bench_cache.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "engine/bench/bench_runner.h"
#include "kernels/core/dtype.h"
#include "kernels/core/rounding.h"

namespace latentd {

BenchCache::BenchCache(BlockPool* pool, Executor* executor, int64_t step_tokens,
                       BlockMemory* memory)
    : pool_(pool), executor_(executor), step_tokens_(step_tokens), memory_(memory) {}

BenchCache::~BenchCache() { Release(); }

void BenchCache::Release() {
  for (const std::vector<uint32_t>& table : tables_) {
    for (const uint32_t granule : table) pool_->Unref(granule);
  }
  tables_.clear();
}

absl::Status BenchCache::Resize(int64_t sequences, int64_t tokens, const Width& width) {
  Release();
  width_ = width;
  cls_ = pool_->shape().ClassOf(width.kv);
  const int64_t blocks = CeilDiv(tokens, kBlockTokens);
  if (sequences * blocks > pool_->num_free(cls_)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(sequences, " sequences of ", tokens, " tokens need ", sequences * blocks,
                     " cache blocks and the pool has ", pool_->num_free(cls_),
                     "; give --cache-memory or less work"));
  }
  tables_.resize(static_cast<size_t>(sequences));
  for (std::vector<uint32_t>& table : tables_) {
    for (int64_t b = 0; b < blocks; ++b) table.push_back(*pool_->Allocate(cls_));
  }
  return absl::OkStatus();
}

void BenchCache::Compute(int64_t depth) {
  for (int64_t done = 0; done < depth; done += step_tokens_) {
    RunChunk(executor_, tables_[0], done, std::min(step_tokens_, depth - done), false, width_);
  }
  const auto blocks = static_cast<size_t>(CeilDiv(depth, kBlockTokens));
  for (size_t i = 1; i < tables_.size(); ++i) {
    for (size_t b = 0; b < blocks; ++b) CopyBlock(tables_[0][b], tables_[i][b]);
  }
  if (memory_ != nullptr) memory_->Finish();
}

void BenchCache::CopyBlock(uint32_t from, uint32_t to) {
  const int64_t bytes = pool_->layout(cls_).block_bytes;
  if (memory_ != nullptr) return memory_->Copy(from, to, bytes);
  std::memcpy(pool_->Block(to), pool_->Block(from), static_cast<size_t>(bytes));
}

void BenchCache::Synthesize(int64_t depth) {
  const BlockLayout& layout = pool_->layout(cls_);
  const auto blocks = static_cast<size_t>(CeilDiv(depth, kBlockTokens));
  std::vector<std::byte> sent(memory_ == nullptr ? 0 : static_cast<size_t>(layout.block_bytes));
  for (const std::vector<uint32_t>& table : tables_) {
    for (size_t b = 0; b < blocks; ++b) {
      std::byte* const to = memory_ == nullptr ? pool_->Block(table[b]) : sent.data();
      SynthesizeBlock(to, layout, width_.kv, table[b]);
      if (memory_ != nullptr) memory_->Write(table[b], sent);
    }
  }
  if (memory_ != nullptr) memory_->Finish();
}

void SynthesizeBlock(std::byte* block, const BlockLayout& layout, int64_t width_kv, uint64_t seed) {
  std::mt19937_64 rng(seed);
  // Sixteen bits a value: sign and mantissa at random, magnitude in [0.5, 1).
  uint64_t bits = 0;
  int left = 0;
  const auto next = [&] {
    if (left == 0) {
      bits = rng();
      left = 4;
    }
    const auto value = static_cast<uint16_t>((bits & 0x807F) | 0x3F00);
    bits >>= 16;
    --left;
    return bf16{value};
  };
  for (int64_t l = 0; l < layout.num_layers; ++l) {
    const LayerOffsets offsets = layout.layer(l);
    for (int64_t t = 0; t < kBlockTokens; ++t) {
      std::byte* const row = block + offsets.rows + t * layout.row_bytes;
      std::fill_n(row, layout.row_latent * LatentBytes(layout.format), std::byte{});
      for (int64_t j = 0; j < width_kv; ++j) {
        if (layout.format == CacheFormat::kInt8) {
          reinterpret_cast<int8_t*>(row)[j] = static_cast<int8_t>(127 * ToFloat(next()));
        } else {
          reinterpret_cast<bf16*>(row)[j] = next();
        }
      }
      auto* rope = reinterpret_cast<bf16*>(row + layout.row_latent * LatentBytes(layout.format));
      for (int64_t j = 0; j < layout.rope_dim; ++j) rope[j] = next();
      if (layout.format == CacheFormat::kInt8) {
        reinterpret_cast<float*>(block + offsets.scales)[t] = 1.0f / 127;
      }
      if (layout.num_alphas == 0) continue;
      auto* alphas = reinterpret_cast<float*>(block + offsets.alphas) + t * layout.num_alphas;
      for (int64_t g = 0; g < layout.num_alphas; ++g) alphas[g] = 0.5f + std::abs(ToFloat(next()));
    }
  }
}

}  // namespace latentd
