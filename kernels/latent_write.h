// Makes the latents of a step's tokens what the cache holds, and writes them into their slots.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/core/context.h"
#include "kernels/core/tensor.h"

namespace latentd {

// The int8 latents of T tokens: scales[i] = largest magnitude of c[i, :] / 127, c[i, :] becomes
// whole numbers from −127 to 127, rounded to nearest, ties to even, so that scales[i] · c[i, j] is
// off by half a step at most. A row below 2^−100 becomes zeros with a scale of 0; one that holds a
// NaN or an infinity, zeros with a scale of NaN, so that nothing of it looks like a number. A row's
// bits depend on nothing but the row.
void QuantiseLatents(const Context& context, MatrixView<float> c, float* scales);

// A slot is where one token of one layer lives: [c: row_latent | kR: d_r] and, for key-normed
// models, G fp32 inverse RMS scalars (layout: cache/block_layout.h).
struct LatentSlot {
  std::byte* row = nullptr;  // 16-byte aligned
  float* alphas = nullptr;   // [G], or null when the model stores none
  float* scale = nullptr;    // or null: c is stored as bf16, not int8
};
struct LatentWriteArgs {
  // [T, w]; rounded to bf16, or whole numbers of QuantiseLatents. Lanes w … row_latent−1 of the
  // slot are written as zero.
  MatrixView<const float> c;
  MatrixView<const float> k_rope;     // [T, d_r], d_r may be 0
  MatrixView<const float> alphas;     // [T, G], or zero columns
  const float* scales = nullptr;      // [T]: int8; null: bf16
  int64_t row_latent = 0;             // r_w: w rounded up to 64
  std::span<const LatentSlot> slots;  // [T]
};
void LatentWrite(const Context& context, const LatentWriteArgs& args);

}  // namespace latentd
