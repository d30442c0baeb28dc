#include "cache/block_layout.h"

#include "kernels/core/check.h"
#include "kernels/core/rounding.h"

namespace latentd {
namespace {

constexpr int64_t kRopeBytes = 2;   // bf16
constexpr int64_t kAlphaBytes = 4;  // fp32

int64_t ScaleBytes(CacheFormat format) { return format == CacheFormat::kInt8 ? 4 : 0; }  // fp32

}  // namespace

BlockLayout BlockLayout::Make(int64_t num_layers, int64_t width, int64_t rope_dim,
                              int64_t num_alphas, CacheFormat format) {
  LATENTD_CHECK(num_layers >= 1 && width >= 1 && rope_dim >= 0 && num_alphas >= 0);
  BlockLayout layout;
  layout.num_layers = num_layers;
  layout.row_latent = RoundUp(width, 64);
  layout.rope_dim = rope_dim;
  layout.num_alphas = num_alphas;
  layout.format = format;
  layout.row_bytes = RoundUp(layout.row_latent * LatentBytes(format) + rope_dim * kRopeBytes, 16);
  layout.bytes_per_token =
      num_layers * (layout.row_bytes + ScaleBytes(format) + num_alphas * kAlphaBytes);
  layout.block_bytes = RoundUp(kBlockTokens * layout.bytes_per_token, kGranuleBytes);
  return layout;
}

size_t PageShape::ClassOf(int64_t width) const {
  LATENTD_CHECK(width >= 0 && width <= classes[0].row_latent);
  size_t cls = 0;
  while (width > 0 && cls + 1 < classes.size() && width <= classes[cls + 1].row_latent) ++cls;
  return cls;
}

LayerOffsets BlockLayout::layer(int64_t layer_idx) const {
  LATENTD_CHECK(layer_idx >= 0 && layer_idx < num_layers);
  const int64_t layer_row_bytes = kBlockTokens * row_bytes;
  const int64_t layer_scale_bytes = kBlockTokens * ScaleBytes(format);
  const int64_t layer_alpha_bytes = kBlockTokens * num_alphas * kAlphaBytes;
  const int64_t scales = num_layers * layer_row_bytes;
  const int64_t alphas = scales + num_layers * layer_scale_bytes;
  return {.rows = layer_idx * layer_row_bytes,
          .scales = scales + layer_idx * layer_scale_bytes,
          .alphas = alphas + layer_idx * layer_alpha_bytes,
          .row_bytes = row_bytes,
          .format = format};
}

}  // namespace latentd
