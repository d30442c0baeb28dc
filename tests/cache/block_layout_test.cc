#include "cache/block_layout.h"

#include <catch2/catch.hpp>

namespace latentd {

TEST_CASE("a reference-sized block has the bytes the design names") {
  const BlockLayout plain = BlockLayout::Make(12, 512, 64, 0);
  CHECK(plain.row_latent == 512);
  CHECK(plain.row_bytes == 1152);
  CHECK(plain.bytes_per_token == 12 * 1152);
  CHECK(plain.block_bytes == 64 * 12 * 1152);

  const BlockLayout normed = BlockLayout::Make(12, 512, 64, 4);
  CHECK(normed.bytes_per_token == 12 * (1152 + 4 * 4));
  CHECK(normed.block_bytes == 64 * 12 * (1152 + 16));
}

TEST_CASE("widths that are multiples of nothing are padded: latents to 64, rows to 16 bytes") {
  const BlockLayout layout = BlockLayout::Make(2, 241, 3, 1);
  CHECK(layout.row_latent == 256);
  CHECK(layout.row_bytes == 528);  // (256 + 3) · 2 = 518
  CHECK(layout.block_bytes % kGranuleBytes == 0);
  CHECK(layout.block_bytes >= kBlockTokens * layout.bytes_per_token);
  CHECK(layout.block_bytes - kBlockTokens * layout.bytes_per_token < kGranuleBytes);
  CHECK(layout.granules() * kGranuleBytes == layout.block_bytes);
}

TEST_CASE("layers and alphas lie side by side without overlap") {
  const BlockLayout layout = BlockLayout::Make(3, 65, 5, 2);
  int64_t end = 0;
  for (int64_t l = 0; l < 3; ++l) {
    CHECK(layout.layer(l).rows == end);
    CHECK(layout.layer(l).row_bytes == layout.row_bytes);
    end += kBlockTokens * layout.row_bytes;
  }
  for (int64_t l = 0; l < 3; ++l) {
    CHECK(layout.layer(l).alphas == end);
    end += kBlockTokens * 2 * 4;
  }
  CHECK(end <= layout.block_bytes);
}

TEST_CASE("int8 rows have a byte a lane, and a scale per token between rows and alphas") {
  // The table of formats: 644 + 4G bytes a token and layer at r = 512, d_r = 64.
  CHECK(BlockLayout::Make(12, 512, 64, 0, CacheFormat::kInt8).bytes_per_token == 12 * 644);
  CHECK(BlockLayout::Make(12, 512, 64, 4, CacheFormat::kInt8).bytes_per_token == 12 * (644 + 16));
  CHECK(BlockLayout::Make(1, 64, 0, 0, CacheFormat::kInt8).row_bytes == 64);

  const BlockLayout layout = BlockLayout::Make(3, 65, 5, 2, CacheFormat::kInt8);
  CHECK(layout.row_latent == 128);
  CHECK(layout.row_bytes == 144);  // 128 + 5 · 2
  int64_t end = 0;
  for (int64_t l = 0; l < 3; ++l, end += kBlockTokens * layout.row_bytes) {
    CHECK(layout.layer(l).rows == end);
    CHECK(layout.layer(l).row_bytes == layout.row_bytes);
    CHECK(layout.layer(l).format == CacheFormat::kInt8);
  }
  for (int64_t l = 0; l < 3; ++l, end += kBlockTokens * 4) CHECK(layout.layer(l).scales == end);
  for (int64_t l = 0; l < 3; ++l, end += kBlockTokens * 2 * 4) CHECK(layout.layer(l).alphas == end);
  CHECK(end == kBlockTokens * layout.bytes_per_token);
  CHECK(layout.block_bytes - end < kGranuleBytes);
  CHECK(layout.block_bytes % kGranuleBytes == 0);
}

TEST_CASE("a model without rotary part has rows of latents alone") {
  CHECK(BlockLayout::Make(1, 64, 0, 0).row_bytes == 128);
}

}  // namespace latentd
