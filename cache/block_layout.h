// Bytes of a cache block: 64 tokens × all layers, contiguous (latent-attention.md section 3).
//
//   block:  | L0: t0 [c … 0 | kR]  t1 …  t63 | L1 … | … | scales: L0 [64] fp32 | L1 … |
//           | α: L0 [64][G] fp32 | L1 … | pad to 256 |
//
// c is bf16, or int8 with one scale per token; without int8 there are no scales. kR is bf16. A row
// is [c: r_w | kR: d_r] rounded up to 16 bytes, r_w the width rounded up to 64. α exists only for
// models that normalise their keys. Nothing else is ever stored.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/mla_attention.h"

namespace latentd {

struct BlockLayout {
  int64_t num_layers = 0;  // attention layers
  int64_t row_latent = 0;  // r_w, lanes
  int64_t rope_dim = 0;    // d_r
  int64_t num_alphas = 0;  // G, or 0
  CacheFormat format = CacheFormat::kBf16;
  int64_t row_bytes = 0;
  int64_t block_bytes = 0;  // multiple of kGranuleBytes
  // Of payload: num_layers · (row_bytes + 4·G, and 4 for a scale), without the block's padding.
  int64_t bytes_per_token = 0;

  // REQUIRES: num_layers, width >= 1; the others >= 0.
  static BlockLayout Make(int64_t num_layers, int64_t width, int64_t rope_dim, int64_t num_alphas,
                          CacheFormat format = CacheFormat::kBf16);

  LayerOffsets layer(int64_t layer_idx) const;
  uint32_t granules() const { return static_cast<uint32_t>(block_bytes / kGranuleBytes); }
};

// What a page of the pool may hold: blocks of one of these classes (section 3, "Pages and slab
// classes").
struct PageShape {
  std::vector<BlockLayout> classes;  // widest first, no two with one row_latent
  int64_t full_blocks = 1;           // P: blocks of the first class that a page holds

  int64_t page_bytes() const { return full_blocks * classes[0].block_bytes; }
  int64_t page_tokens() const { return full_blocks * kBlockTokens; }  // at full width
  int64_t blocks_per_page(size_t cls) const { return page_bytes() / classes[cls].block_bytes; }
  // The class of the blocks of sequences that run at this latent rank; 0 stands for the full one.
  // A shape of one class holds every rank up to its own.
  size_t ClassOf(int64_t width) const;
};

}  // namespace latentd
