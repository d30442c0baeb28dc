// The latents of a step's tokens, from their projection to their cache slots: what
// Transformer::WriteLatents does after W_DKV (latent-attention.md, sections 2 and 3).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/tensor.h"
#include "kernels/mla_attention.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// c = c_norm ⊙ u · ρ(u), rounded to bf16; kR = the key normalised and rotated, rounded to bf16;
// α[g] = ρ(W_UK,g c) from c as stored, with ‖k‖² inside the mean in the unified form. Lanes
// w … row_latent−1 and those past row_latent + d_r up to 16 bytes are written as zero.
//
// Every pointer is device memory, borrowed until the stream has run the kernels.
struct LatentWriteArgs {
  MatrixView<const float> latents;     // u: [T, w], before its norm
  MatrixView<const float> keys;        // k: [T, d_r], before norm and rotation; d_r even, 0 … 256
  MatrixView<const float> angles;      // [T, d_r]; unread when d_r is 0
  const float* latent_norm = nullptr;  // [w] fp32, with σ_kv inside
  float latent_epsilon = 0;
  bool interleaved = false;        // rotary pairs, as in kernels/rope.h
  bool norm_before_rope = true;    // unread without key norm
  const int64_t* slots = nullptr;  // [T]: granule of the block · 64 + token within it; negative is
                                   // padding, for which nothing is written
  std::byte* pool = nullptr;       // granules of 256 bytes
  LayerOffsets layer;
  int64_t row_latent = 0;  // r_w: w rounded up to 64

  // The rest is unread without key norm.
  KeyNorm key_norm = KeyNorm::kNone;
  float key_epsilon = 0;
  const float* key_norm_weight = nullptr;  // [d_r] fp32
  WeightView w_uk;                         // [d_n, w], group 0's; not quantised
  int64_t w_uk_group_stride = 0;           // elements between two groups
  int64_t num_kv_groups = 0;               // G
  float* key_squares = nullptr;            // [T] scratch; unread unless unified
};

// Enqueues one kernel, with key norm two. Any thread, one at a time per stream. A broken
// precondition or a failed launch aborts with file and line.
void LatentWrite(CUstream_st* stream, const LatentWriteArgs& args);

}  // namespace latentd::cuda
