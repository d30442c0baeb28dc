// Absorbed MLA attention over the paged latent (latent-attention.md, sections 2, 3, 5 and 6).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/core/cache_format.h"
#include "kernels/core/context.h"
#include "kernels/core/tensor.h"

namespace latentd {

constexpr int64_t kBlockTokens = 64;    // tokens in a cache block, and in an attention tile
constexpr int64_t kUnitTokens = 512;    // tiles fold left into units
constexpr int64_t kGroupTokens = 2048;  // units fold left into groups, groups fold left
constexpr int64_t kGranuleBytes = 256;  // unit of block addresses

enum class KeyNorm : uint8_t { kNone, kBlockwise, kUnified };

// Where one layer lies in a block, in bytes from its start, and how (cache/block_layout.h).
struct LayerOffsets {
  int64_t rows = 0;       // [64][row_bytes]
  int64_t scales = 0;     // [64] fp32; unread without int8
  int64_t alphas = 0;     // [64][G] fp32; unread without key norm
  int64_t row_bytes = 0;  // multiple of 16
  CacheFormat format = CacheFormat::kBf16;
};

// The query rows of one sequence in a step: num_tokens consecutive positions.
struct AttentionSequence {
  std::span<const uint32_t> block_table;  // granule index of each logical block; tail unread
  int64_t first_row = 0;                  // row of q and out
  int64_t num_tokens = 0;
  int64_t first_position = 0;  // token i attends to positions 0 … first_position + i
};

// score[t] = s · (α[t,g] · (q̃·c_t) + q_R·kR_t)      blockwise
//            s · α[t,g] · (q̃·c_t + q_R·kR_t)        unified
//            s · (q̃·c_t + q_R·kR_t)                 none
// out[row, h] = Σ_t softmax(score)_t · c_t.
// q is rounded to bf16 once; probabilities are rounded to bf16 before they meet c; sums are fp32
// with the two-level order of section 5 (tiles of 64, units of 512, groups of 2048, from position
// 0), so that neither chunking, batch nor threads change a bit. Slots past a row's position are
// never read. Borrows every view until it returns. Engine thread only.
//
// int8: c_t = σ_t · n_t with whole numbers n_t, which are exact in bf16 and fp32; nothing is
// rounded to read them. q̃·c_t is σ_t · (q̃·n_t), one fp32 rounding per partial sum, and kR is not
// touched by σ. With p = e^(score − largest), w_t = p · σ_t is rounded to bf16 and meets n_t, and
// the divisor of the softmax adds up w_t / σ_t, the p that took part, so that here too the weights
// of a row add up to one. A scale of 0 counts as 1: its numbers are 0.
struct MlaAttentionArgs {
  MatrixView<const float>
      q;  // [num_rows · H, row_latent + d_r], row (t, h) at t·H + h, scale not applied
  MatrixView<float> out;  // [num_rows · H, row_latent], overwritten
  int64_t num_heads = 0;
  int64_t num_kv_groups = 0;  // G; unread without key norm
  int64_t row_latent = 0;     // r_w, multiple of 64; lanes past the width are zero in q and cache
  int64_t rope_dim = 0;       // d_r, may be 0
  KeyNorm key_norm = KeyNorm::kNone;
  float softmax_scale = 1;
  const std::byte* pool = nullptr;  // granules of 256 bytes
  LayerOffsets layer;
  std::span<const AttentionSequence> sequences;
};
void MlaAttention(const Context& context, const MlaAttentionArgs& args);

}  // namespace latentd
