#include "bench/gpu/decode_shape.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "cache/block_layout.h"

namespace latentd::bench {
namespace {

TEST_CASE("the floor counts every byte of a step once") {
  // 3 sequences of 5 tokens: rows of 2·(128 + 6) bytes and 2 groups of fp32; 2 query tokens of 4
  // heads, in bf16 of 134 values, out in fp32 of 128.
  const DecodeShape shape = {.batch = 3,
                             .context = 5,
                             .query_tokens = 2,
                             .num_heads = 4,
                             .num_kv_groups = 2,
                             .row_latent = 128,
                             .rope_dim = 6};
  CHECK(FloorBytes(shape) == 3 * 5 * (268 + 8) + 3 * 2 * 4 * (268 + 512));
  // The first of the two query tokens sees 4 tokens, the second 5; a head's pair is 134 products
  // and as many sums for the score, 128 of each for the value.
  CHECK(FloorFlops(shape) == 3 * (4 + 5) * 4 * 2 * (134 + 128));
}

TEST_CASE("the floors of published shapes") {
  // gpu-kernels: 1152 bytes a token; 2.42 GB and 0.0365 TFLOP for 64 sequences of 32k, 16 heads.
  const DecodeShape shape = {.batch = 64, .context = 32768};
  const auto queries = static_cast<double>(64 * 16 * (1152 + 2048));
  CHECK(static_cast<double>(FloorBytes(shape)) - queries == 64.0 * 32768 * 1152);
  CHECK(FloorFlops(shape) == 64.0 * 32768 * 34816);
}

TEST_CASE("the pool has the layout of the cache") {
  for (const int64_t groups : {0, 1, 3, 16}) {
    const DecodeShape shape = {.batch = 2, .context = 130, .num_kv_groups = groups};
    // cache/block_layout.h: one layer.
    const BlockLayout layout = BlockLayout::Make(1, shape.row_latent, shape.rope_dim, groups);
    CAPTURE(groups);
    CHECK(LayerOf(shape).row_bytes == layout.row_bytes);
    CHECK(BlockGranules(shape) * kGranuleBytes == layout.block_bytes);
    CHECK(PoolBytes(shape) == 2 * 3 * layout.block_bytes);
  }
}

TEST_CASE("tables name every block of the pool once, in no order") {
  const DecodeShape shape = {.batch = 5, .context = 70, .num_kv_groups = 1};
  std::vector<uint32_t> tables = RandomTables(shape, 1);
  CHECK(!std::is_sorted(tables.begin(), tables.end()));
  CHECK(tables != RandomTables(shape, 2));
  std::sort(tables.begin(), tables.end());
  for (size_t i = 0; i < tables.size(); ++i) {
    CHECK(tables[i] == i * static_cast<size_t>(BlockGranules(shape)));
  }
  CHECK(tables.size() == 10);
}

TEST_CASE("sequences end with their query tokens and have rows of their own") {
  const DecodeShape shape = {.batch = 3, .context = 70, .query_tokens = 4};
  const std::vector<uint32_t> tables = RandomTables(shape, 1);
  const std::vector<AttentionSequence> sequences = Sequences(shape, tables);
  REQUIRE(sequences.size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(sequences[i].block_table.data() == tables.data() + 2 * i);
    CHECK(sequences[i].block_table.size() == 2);
    CHECK(sequences[i].first_row == static_cast<int64_t>(4 * i));
    CHECK(sequences[i].num_tokens == 4);
    CHECK(sequences[i].first_position == 66);
  }
}

}  // namespace
}  // namespace latentd::bench
