// What expanded attention (latent-attention.md section 2) is made of around its matrix products: a
// span of the context, taken from the paged latent, and the softmax over its scores. Pointers,
// streams and errors are as in operators.h; each enqueues one kernel.
//
// A span's queries are laid out by heads: [heads][num_queries], of which the first num_rows are
// tokens of the chunk and the others padding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/tensor.h"
#include "kernels/mla_attention.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// Tokens of one sequence, from first_position on.
struct PagedSpan {
  const std::byte* pool = nullptr;  // granules of 256 bytes
  LayerOffsets layer;               // bf16 latents
  const uint32_t* block_table = nullptr;
  int64_t first_position = 0;
  int64_t num_tokens = 0;
};

// out[t] = what the cache stores of token t, its latent and its rotary key; zero for the tokens
// from span.num_tokens to out.rows.
struct GatherSpanArgs {
  PagedSpan span;
  MatrixView<bf16> out;  // [rows, r_w + d_r], overwritten
};
void GatherSpan(CUstream_st* stream, const GatherSpanArgs& args);

// The rows that queries and probabilities meet, out[g][t] = key, then value:
//   key    [α k_C | kR] blockwise, α [k_C | kR] unified, [k_C | kR] without key norm; d_n + d_r of
//          them, rounded to bf16 once
//   value  v, rounded to bf16, from key_ld on: d_v of them
// and zero in between, behind, and for the tokens from span.num_tokens to projected.rows.
struct PackSpanArgs {
  MatrixView<const float> projected;  // [rows, num_groups(d_n + d_v)], per group k_C then v
  const bf16* rope = nullptr;         // kR of token t at t · rope_ld
  int64_t rope_ld = 0;
  PagedSpan span;  // whose α are read, where there are any
  KeyNorm key_norm = KeyNorm::kNone;
  int64_t alphas_per_token = 0;  // G of the model
  int64_t first_group = 0;       // of the model: that of projected's first columns
  int64_t num_groups = 0;
  int64_t nope_dim = 0, rope_dim = 0, value_dim = 0;
  bf16* out = nullptr;       // [num_groups][group_stride / out_ld][out_ld]
  int64_t key_ld = 0;        // at least d_n + d_r
  int64_t out_ld = 0;        // at least key_ld + d_v
  int64_t group_stride = 0;  // elements
};
void PackSpan(CUstream_st* stream, const PackSpanArgs& args);

// The softmax of a span, merged with those before it by their largest scores. Of head h and row t:
//   s_k       softmax_scale · scores[h][t][k] of the tokens that it sees, k < visible + t and
//             k < num_keys
//   largest   max(largest before, s_k); −∞ before the first span
//   weights   e^(s_k − largest) rounded to bf16; zero up to padded_keys, and in rows of padding
//   kept      e^(largest before − largest); 0 in the first span
//   sums      kept · sums before + Σ weights as rounded
// A row that sees no token of the span keeps largest and sums. Sums add every 32nd weight, then the
// 32 by halves. REQUIRES: softmax_scale > 0.
struct WeighSpanArgs {
  const float* scores = nullptr;  // [num_heads][num_queries][ld]
  bf16* weights = nullptr;        // the same shape, overwritten up to padded_keys
  int64_t ld = 0;                 // at least padded_keys
  int64_t num_heads = 0, num_queries = 0, num_rows = 0;
  int64_t num_keys = 0, padded_keys = 0;
  int64_t visible = 0;  // tokens that row 0 sees; may be negative or beyond num_keys
  float softmax_scale = 1;
  bool is_first = false;
  float* largest = nullptr;  // of row t and head h at t · state_ld + h
  float* sums = nullptr;     // the same
  int64_t state_ld = 0;
  float* kept = nullptr;  // [num_heads][num_queries], overwritten but for padding
};
void WeighSpan(CUstream_st* stream, const WeighSpanArgs& args);

// out[t, h·d_v + j] = out · kept[h][t] + products[h][t][j], without the first part in the first
// span, and divided by sums in the last.
struct MergeSpanArgs {
  const float* products = nullptr;  // [num_heads][num_queries][products_ld]
  int64_t products_ld = 0;
  int64_t num_heads = 0, num_queries = 0, value_dim = 0;
  const float* kept = nullptr;  // as WeighSpan's, and so are sums
  const float* sums = nullptr;
  int64_t state_ld = 0;
  bool is_first = false, is_last = false;
  MatrixView<float> out;  // [num_rows, num_heads · d_v]
};
void MergeSpan(CUstream_st* stream, const MergeSpanArgs& args);

}  // namespace latentd::cuda
