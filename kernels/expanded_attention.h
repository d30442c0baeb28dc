// Expanded latent attention over the paged latent: the keys and values of the context are
// materialised tile by tile from the cache, then ordinary attention (latent-attention.md section 2,
// "Two algebraically equal routes"). The route of long prompt chunks in `relaxed`; its bits differ
// from the absorbed route's, and depend on the chunk.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/context.h"
#include "kernels/core/tensor.h"
#include "kernels/mla_attention.h"

namespace latentd {

// What decides between the routes, besides lengths.
struct AttentionGeometry {
  int64_t num_heads = 0;
  int64_t num_kv_groups = 0;  // G, divides num_heads
  int64_t nope_dim = 0;       // d_n
  int64_t rope_dim = 0;       // d_r, may be 0
  int64_t value_dim = 0;      // d_v
  int64_t latent_width = 0;   // w: lanes of c in use
};

// Whether a chunk of num_tokens new tokens from first_position on is expected to be quicker
// expanded. Counts the multiply-adds of both routes, those of the expanded one at their measured
// price (bench/strict_price). Pure.
bool PrefersExpanded(const AttentionGeometry& geometry, int64_t first_position, int64_t num_tokens);

// key[t, g]   = [α k_C | kR] blockwise, α [k_C | kR] unified, [k_C | kR] without key norm,
// value[t, g] = v,   where [k_C ; v] = kv_b[g] · c_t
// out[i, h]   = Σ_t softmax(s · q[i, h] · key[t, g(h)])_t · value[t, g(h)].
// q, keys, values and probabilities are rounded to bf16, sums are fp32; an int8 latent is projected
// as the whole numbers that it is made of, its scale multiplies k_C and v before they are rounded.
// Tiles of 512 tokens from
// position 0 fold left. Slots past the last position of the sequence are never read, but a value
// that overflowed (±∞) may spoil the rows of earlier tokens in the same chunk. Working memory: a
// tile's keys, values and scores of up to 16 heads, kept by the calling thread. Engine thread only;
// borrows every view until it returns.
struct ExpandedAttentionArgs {
  AttentionGeometry geometry;
  MatrixView<const float> q;  // [num_tokens, H(d_n+d_r)], per head content first, normalised and
                              // rotated, γ_kC folded in, scale not applied
  WeightView kv_b;            // [G(d_n+d_v), w], per group K rows then V rows; bf16, f16 or f32
  MatrixView<float> out;      // [num_tokens, H·d_v], overwritten
  int64_t row_latent = 0;     // r_w: lanes of a cache row before kR
  KeyNorm key_norm = KeyNorm::kNone;
  float softmax_scale = 1;
  const std::byte* pool = nullptr;  // granules of 256 bytes
  LayerOffsets layer;
  AttentionSequence sequence;  // first_row is not used: q and out begin with its first token
};
void ExpandedAttention(const Context& context, const ExpandedAttentionArgs& args);

}  // namespace latentd
