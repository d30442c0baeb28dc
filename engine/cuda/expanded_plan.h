// How the expanded attention of long prompt chunks is cut up on the device, and which chunks take
// it: pure host functions.
#pragma once

#include <cstdint>

#include "engine/cuda/device_arena.h"
#include "kernels/cuda/library_product.h"
#include "kernels/expanded_attention.h"

namespace latentd {

// Queries and keys of a product are padded to a multiple of it, so that the library meets few
// shapes.
constexpr int64_t kExpandedTile = 64;

// What the route is made for.
struct ExpandedNeeds {
  AttentionGeometry geometry;  // at full width
  int64_t row_latent = 0;      // r_w of a full row
  int64_t max_rows = 0;        // tokens of a chunk
  int64_t span_tokens = 0;     // of the context expanded at a time; a multiple of kExpandedTile
  int64_t most_bytes = 0;      // of device memory
};

// The context is expanded a span after the other, of which some KV groups at a time, and meets some
// queries at a time.
struct ExpandedSizes {
  AttentionGeometry geometry;
  int64_t row_latent = 0;
  int64_t max_rows = 0;
  int64_t span_tokens = 0;
  int64_t groups_at_once = 0;   // divides the model's
  int64_t queries_at_once = 0;  // a multiple of kExpandedTile; 0: no chunk takes the route

  int64_t share() const { return geometry.num_heads / geometry.num_kv_groups; }
  int64_t heads_at_once() const { return groups_at_once * share(); }
  int64_t key_dim() const { return geometry.nope_dim + geometry.rope_dim; }
  int64_t group_rows() const { return geometry.nope_dim + geometry.value_dim; }
  // Elements between rows, which begin on 16 bytes: of gathered latents, of projected ones, of
  // queries, of keys with values behind them, of products.
  int64_t latent_ld() const { return cuda::RoundedLd(row_latent + geometry.rope_dim); }
  int64_t projected_ld() const { return (groups_at_once * group_rows() + 3) / 4 * 4; }
  int64_t key_ld() const { return cuda::RoundedLd(key_dim()); }
  int64_t packed_ld() const { return key_ld() + cuda::RoundedLd(geometry.value_dim); }
  int64_t products_ld() const { return (geometry.value_dim + 3) / 4 * 4; }
};

// The largest sizes within the bytes. Queries at a time are at most 512 and, with the heads at a
// time, 8192 rows of scores: beyond, the scores of a span of 512 tokens outgrow the device's L2.
ExpandedSizes PlanExpanded(const ExpandedNeeds& needs);

// Pieces of an arena; n the sizes' queries_at_once.
struct ExpandedMemory {
  static ExpandedMemory Place(const ExpandedSizes& sizes, DeviceArena& arena);

  bf16* latents = nullptr;     // [span, latent_ld]
  float* projected = nullptr;  // [span, projected_ld]
  bf16* packed = nullptr;      // [groups_at_once][span][packed_ld]
  float* scores = nullptr;     // [heads_at_once][n][span]
  bf16* weights = nullptr;     // the same
  float* products = nullptr;   // [heads_at_once][n][products_ld]
  float* kept = nullptr;       // [heads_at_once][n]
  float* largest = nullptr;    // [max_rows, H], and so are sums
  float* sums = nullptr;
};

// Whether a chunk of num_tokens from first_position on, whose rows have width lanes in row_latent,
// has fewer multiply-adds expanded than absorbed. Both are counted as their kernels make them:
//   absorbed  Σ over queries ⌈context⌉ · H(2 r_w + d_r), besides n · H · w(d_n + d_v) for W_UK and
//             W_UV
//   expanded  Σ over pieces ⌈queries⌉ · ⌈context of the last⌉ · H(d_n + d_r + d_v), besides
//             ⌈context⌉ · G · w(d_n + d_v) for keys and values
// where ⌈⌉ rounds up to 64. Bytes are not counted, and a multiply-add costs the same in both: no
// device has been asked yet (kernels/cuda/expanded_softmax_body.h says what to expect of the
// scores). Fewer than 32 tokens are absorbed always.
bool IsCheaperExpanded(const ExpandedSizes& sizes, int64_t width, int64_t row_latent,
                       int64_t first_position, int64_t num_tokens);

// The library's products: latents · W, queries · keys, weights · values. queries and keys are
// multiples of kExpandedTile.
cuda::LibraryShape ProjectionShape(const ExpandedSizes& sizes, int64_t width, int64_t w_ld,
                                   int64_t tokens);
cuda::LibraryShape ScoresShape(const ExpandedSizes& sizes, int64_t queries, int64_t keys);
cuda::LibraryShape ValuesShape(const ExpandedSizes& sizes, int64_t queries, int64_t keys);

}  // namespace latentd
