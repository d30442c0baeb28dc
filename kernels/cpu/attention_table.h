// What each vector path supplies for absorbed attention (kernels/mla_attention.h), and the data it
// works on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace latentd {

constexpr int64_t kTileTokens = 64;  // kBlockTokens of kernels/mla_attention.h

// How α enters a score; the values of KeyNorm.
enum class AlphaUse : uint8_t { kNone, kContent, kWhole };

// What all tiles of a call share.
struct AttentionShape {
  int64_t num_heads = 0;
  int64_t num_groups = 0;
  int64_t row_latent = 0;  // multiple of 64
  int64_t rope_dim = 0;
  AlphaUse alpha_use = AlphaUse::kNone;
  float scale = 1;
};

// The partial softmax of one query token: with p = e^(score − largest), Σ p and Σ p·c. The lanes of
// acc are in the path's own order until `finish`.
struct AttentionState {
  float* largest = nullptr;  // [H]
  float* sum = nullptr;      // [H]
  float* acc = nullptr;      // [H, row_latent], 64-byte aligned
};

// One tile of the cache. Rows past the last valid token are never read.
struct AttentionTile {
  const std::byte* rows = nullptr;  // [64] rows of row_bytes, [c | kR], kR bf16
  int64_t row_bytes = 0;
  const float* scales = nullptr;    // [64], int8 alone
  const float* alphas = nullptr;    // [64, G]
  const std::byte* next = nullptr;  // prefetched while this tile is worked on; null for none
  int64_t next_bytes = 0;
};

// Of one path and one format of the cache.
struct AttentionKernels {
  // Bytes of a packed query token, of a prepared tile, and of one thread's scores.
  int64_t (*query_bytes)(const AttentionShape& shape) = nullptr;
  int64_t (*prepared_bytes)(const AttentionShape& shape) = nullptr;
  int64_t (*score_bytes)(const AttentionShape& shape) = nullptr;

  // Rounds the H rows of one query token to bf16. Rows are ld floats apart.
  void (*pack_query)(const AttentionShape& shape, const float* q, int64_t ld,
                     void* packed) = nullptr;
  // Converts or interleaves the first num_tokens tokens of a tile, once for all heads and query
  // tokens.
  void (*prepare)(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
                  void* prepared) = nullptr;
  // Folds the first num_tokens >= 1 tokens of a prepared tile into the state of one query token.
  void (*attend)(const AttentionShape& shape, const AttentionTile& tile, int64_t num_tokens,
                 const void* prepared, const void* packed_query, void* scores,
                 const AttentionState& state) = nullptr;
  // Sets a state to that of no token.
  void (*clear)(const AttentionShape& shape, const AttentionState& state) = nullptr;
  // state += later, both of at least one token.
  void (*fold)(const AttentionShape& shape, const AttentionState& state,
               const AttentionState& later) = nullptr;
  // out[h, :] = acc / sum. Rows are ld floats apart.
  void (*finish)(const AttentionShape& shape, const AttentionState& state, float* out,
                 int64_t ld) = nullptr;
};

}  // namespace latentd
