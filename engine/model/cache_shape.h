// How the latents of a model lie in the cache.
#pragma once

#include "cache/block_layout.h"
#include "engine/model/config.h"

namespace latentd {

// Pages of 16 full-width blocks for a model whose widths make rows of several lengths, else of one
// block. The classes are the row lengths of the ranks that may be asked for, the full one first
// (latent-attention.md section 3).
PageShape CacheShapeOf(const ModelConfig& config, CacheFormat format = CacheFormat::kBf16);

}  // namespace latentd
