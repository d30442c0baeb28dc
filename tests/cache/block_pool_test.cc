#include "cache/block_pool.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

namespace latentd {
namespace {

const BlockLayout kLayout = BlockLayout::Make(2, 64, 16, 2);

std::unique_ptr<BlockPool> MakePool(int64_t num_blocks, BlockPoolOptions options = {}) {
  auto pool = BlockPool::Create(kLayout, num_blocks, std::move(options));
  REQUIRE(pool.ok());
  return *std::move(pool);
}

bool AllBytesAre(BlockPool& pool, uint32_t granule, int value) {
  const std::byte* block = pool.Block(granule);
  return std::all_of(block, block + kLayout.block_bytes,
                     [value](std::byte b) { return b == std::byte(value); });
}

}  // namespace

TEST_CASE("every block is handed out once, then none, then again") {
  auto pool = MakePool(5);
  std::set<uint32_t> granules;
  for (int i = 0; i < 5; ++i) granules.insert(pool->Allocate().value());
  CHECK(granules.size() == 5);
  for (uint32_t granule : granules) CHECK(granule % kLayout.granules() == 0);
  CHECK(*granules.rbegin() == 4 * kLayout.granules());
  CHECK_FALSE(pool->Allocate().has_value());
  CHECK(pool->num_free() == 0);

  CHECK(pool->Unref(*granules.begin()));
  CHECK(pool->num_free() == 1);
  CHECK(pool->Allocate() == *granules.begin());
  CHECK(pool->num_allocations() == 6);
}

TEST_CASE("a block is free only when its last reference goes") {
  auto pool = MakePool(1);
  const uint32_t granule = pool->Allocate().value();
  pool->Ref(granule);
  CHECK(pool->ref_count(granule) == 2);
  CHECK_FALSE(pool->Unref(granule));
  CHECK_FALSE(pool->Allocate().has_value());
  CHECK(pool->Unref(granule));
  CHECK(pool->Allocate().has_value());
}

TEST_CASE("the order of blocks depends on the calls alone") {
  auto a = MakePool(8), b = MakePool(8);
  for (auto* pool : {a.get(), b.get()}) {
    for (int i = 0; i < 4; ++i) pool->Allocate();
    pool->Unref(pool->GranuleOf(2));
    pool->Unref(pool->GranuleOf(0));
  }
  for (int i = 0; i < 6; ++i) CHECK(a->Allocate() == b->Allocate());
}

TEST_CASE("freed and fresh blocks are poisoned when asked") {
  auto pool = MakePool(2, {.poison = true, .may_allocate = {}});
  const uint32_t granule = pool->Allocate().value();
  CHECK(AllBytesAre(*pool, granule, 0xFF));
  std::fill_n(pool->Block(granule), kLayout.block_bytes, std::byte{1});
  pool->Ref(granule);
  pool->Unref(granule);
  CHECK(AllBytesAre(*pool, granule, 1));
  pool->Unref(granule);
  CHECK(AllBytesAre(*pool, granule, 0xFF));
}

TEST_CASE("a pool without memory hands out the blocks of one with memory") {
  auto with = MakePool(5);
  auto without = MakePool(5, {.poison = true, .has_memory = false, .may_allocate = {}});
  CHECK(without->base() == nullptr);
  for (int i = 0; i < 3; ++i) CHECK(with->Allocate() == without->Allocate());
  for (auto* pool : {with.get(), without.get()}) CHECK(pool->Unref(pool->GranuleOf(1)));
  for (int i = 0; i < 4; ++i) CHECK(with->Allocate() == without->Allocate());
  // More than any host has.
  constexpr int64_t kMany = int64_t{1} << 30;
  const int64_t blocks = kMany * kGranuleBytes / kLayout.block_bytes;
  CHECK(MakePool(blocks, {.has_memory = false, .may_allocate = {}})->num_free() == blocks);
}

TEST_CASE("allocation can be refused from outside") {
  bool allow = false;
  auto pool = MakePool(2, {.poison = false, .may_allocate = [&allow] { return allow; }});
  CHECK_FALSE(pool->Allocate().has_value());
  CHECK(pool->num_free() == 2);
  allow = true;
  CHECK(pool->Allocate().has_value());
}

TEST_CASE("slot addresses cover a block without overlap") {
  auto pool = MakePool(2);
  pool->Allocate();
  const uint32_t granule = pool->Allocate().value();
  std::byte* end = pool->Block(granule);
  CHECK(end == pool->base() + kLayout.block_bytes);
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int64_t t = 0; t < kBlockTokens; ++t, end += kLayout.row_bytes) {
      CHECK(pool->Row(granule, layer, t) == end);
    }
  }
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (int64_t t = 0; t < kBlockTokens; ++t, end += 2 * sizeof(float)) {
      CHECK(reinterpret_cast<std::byte*>(pool->Alphas(granule, layer, t)) == end);
    }
  }
}

TEST_CASE("a pool that cannot be is refused with the numbers") {
  CHECK(BlockPool::Create(kLayout, 0).status().code() == absl::StatusCode::kInvalidArgument);
  const auto beyond = BlockPool::Create(kLayout, int64_t{1} << 40).status();
  CHECK(beyond.code() == absl::StatusCode::kResourceExhausted);
  CHECK_THAT(std::string(beyond.message()), Catch::Contains("no cache has more than 1048576 MiB") &&
                                                Catch::Contains("--cache-memory"));

  const auto large = BlockLayout::Make(1, 512, 64, 0);  // the most granules: one TiB
  const auto short_of = BlockPool::Create(large, (int64_t{1} << 32) / large.granules()).status();
  CHECK(short_of.code() == absl::StatusCode::kResourceExhausted);
  CHECK_THAT(std::string(short_of.message()),
             Catch::Contains("needs 1048576 MiB") && Catch::Contains("--cache-tokens"));
}

}  // namespace latentd
