// `latentd inspect`: what a model is and what it costs, as text and as JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/model/loader.h"
#include "kernels/core/cache_format.h"

namespace latentd {

// Bytes that a token takes in the cache, over all layers (latent-attention.md, section 3).
struct CacheCost {
  int64_t bytes_per_token = 0;
  int64_t bytes_per_block = 0;     // 64 tokens, as granules of 256 bytes
  int64_t expanded_per_token = 0;  // bf16 keys and values of all groups, if they were kept instead
};
// `kv_rank` is the latent width, at most the full rank.
CacheCost CacheCostOf(const ModelConfig& config, int64_t kv_rank,
                      CacheFormat format = CacheFormat::kBf16);

// Tokens of sequences at this latent width, in whole blocks of whole pages, that `cache_bytes`
// hold.
int64_t ContextThatFits(const ModelConfig& config, int64_t kv_rank, int64_t cache_bytes,
                        CacheFormat format = CacheFormat::kBf16);

// Family, geometry, rope, routing, parameters (all, and those that take part in one token), weight
// format and cache cost in either format. `memory_bytes` > 0: also the context that such a memory
// holds, as cache alone (bf16) and beside the weights. Counts are exact integers. The text ends
// with a newline; both have the same content. A model of describe_only is enough.
nlohmann::json InspectJson(const Model& model, int64_t memory_bytes = 0);
std::string InspectText(const Model& model, int64_t memory_bytes = 0);

}  // namespace latentd
