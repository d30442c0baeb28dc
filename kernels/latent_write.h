// Writes the latents of a step's tokens into their cache slots.
#pragma once

#include <cstddef>
#include <span>

#include "kernels/core/context.h"
#include "kernels/core/tensor.h"

namespace latentd {

// A slot is where one token of one layer lives: [c: row_latent | kR: d_r] bf16 and, for key-normed
// models, G fp32 inverse RMS scalars (layout: cache/block_layout.h).
struct LatentSlot {
  std::byte* row = nullptr;  // 16-byte aligned
  float* alphas = nullptr;   // [G], or null when the model stores none
};
struct LatentWriteArgs {
  MatrixView<const float> c;  // [T, w]; lanes w … row_latent−1 of the slot are written as zero
  MatrixView<const float> k_rope;     // [T, d_r], d_r may be 0
  MatrixView<const float> alphas;     // [T, G], or zero columns
  int64_t row_latent = 0;             // r_w: w rounded up to 64
  std::span<const LatentSlot> slots;  // [T]
};
void LatentWrite(const Context& context, const LatentWriteArgs& args);

}  // namespace latentd
