#include "cache/prefix_index.h"

#include <catch2/catch.hpp>
#include <numeric>
#include <set>

namespace latentd {
namespace {

const BlockLayout kLayout = BlockLayout::Make(1, 64, 0, 0);
const Hash128 kSalt = {0, 0};

struct Fixture {
  explicit Fixture(int64_t num_blocks)
      : pool(*BlockPool::Create(kLayout, num_blocks)), index(pool.get(), Hash128{1, 2}) {}

  // A block published under its own key and released: reusable.
  uint32_t Reusable(uint64_t key, const Hash128& salt = kSalt) {
    const uint32_t granule = index.Allocate().value();
    CHECK(index.Publish({key, 0}, salt, granule) == granule);
    index.Release(granule);
    return granule;
  }

  std::unique_ptr<BlockPool> pool;
  PrefixIndex index;
};

std::vector<uint32_t> Tokens(uint32_t first) {
  std::vector<uint32_t> tokens(kBlockTokens);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

}  // namespace

TEST_CASE("the hash is SipHash-2-4 with 128 bits") {
  // Key 00 01 … 0f and input 00 01 …, as in the algorithm's published vectors.
  const Hash128 key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
  const uint64_t input[] = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
  CHECK(SipHash128(key, {}) == Hash128{0xe6a825ba047f81a3, 0x930255c71472f66d});
  CHECK(SipHash128(key, std::span(input, 1)) == Hash128{0x61f55862baa9623b, 0xb49714f364e2830f});
  CHECK(SipHash128(key, std::span(input, 2)) == Hash128{0xbb54b067caa4e26e, 0x77052385bf1533fd});
}

TEST_CASE("keys differ by every part of a block's identity, and by process") {
  const Fixture f(1), same(1);
  const PrefixIndex random_a(f.pool.get()), random_b(f.pool.get());
  const Hash128 root = f.index.RootKey(128, 64, {1, 2}, {3, 4});
  const auto tokens = Tokens(0);
  auto swapped = tokens;
  std::swap(swapped[10], swapped[11]);
  std::set<Hash128> keys = {root,
                            f.index.RootKey(127, 64, {1, 2}, {3, 4}),
                            f.index.RootKey(128, 65, {1, 2}, {3, 4}),
                            f.index.RootKey(128, 64, {0, 2}, {3, 4}),
                            f.index.RootKey(128, 64, {1, 0}, {3, 4}),
                            f.index.RootKey(128, 64, {1, 2}, {0, 4}),
                            f.index.RootKey(128, 64, {1, 2}, {3, 0}),
                            f.index.BlockKey(root, tokens),
                            f.index.BlockKey(root, swapped),
                            f.index.BlockKey(f.index.BlockKey(root, tokens), tokens),
                            random_a.RootKey(128, 64, {1, 2}, {3, 4}),
                            random_b.RootKey(128, 64, {1, 2}, {3, 4})};
  CHECK(keys.size() == 12);
  CHECK(same.index.BlockKey(same.index.RootKey(128, 64, {1, 2}, {3, 4}), tokens) ==
        f.index.BlockKey(root, tokens));
}

TEST_CASE("a published block is found, shared, and kept when released") {
  Fixture f(2);
  const uint32_t granule = f.index.Allocate().value();
  CHECK_FALSE(f.index.Find({7, 7}).has_value());
  f.index.Publish({7, 7}, kSalt, granule);
  CHECK(f.index.Find({7, 7}) == granule);
  CHECK(f.index.num_reusable() == 0);  // its writer still uses it
  f.index.Acquire(granule);
  CHECK(f.pool->ref_count(granule) == 3);
  f.index.Release(granule);
  f.index.Release(granule);
  CHECK(f.index.num_reusable() == 1);
  CHECK(f.pool->num_free() == 1);
  f.index.Acquire(granule);
  CHECK(f.index.num_reusable() == 0);
}

TEST_CASE("a block that nobody published is free at once") {
  Fixture f(1);
  f.index.Release(f.index.Allocate().value());
  CHECK(f.pool->num_free() == 1);
  CHECK(f.index.num_known() == 0);
}

TEST_CASE("the second block with a key gives way to the first") {
  Fixture f(2);
  const uint32_t first = f.Reusable(5);
  const uint32_t second = f.index.Allocate().value();
  CHECK(f.index.Publish({5, 0}, kSalt, second) == first);
  CHECK(f.pool->ref_count(first) == 2);
  CHECK(f.pool->ref_count(second) == 0);
  CHECK(f.index.num_reusable() == 0);
  CHECK(f.index.Publish({5, 0}, kSalt, first) == first);  // again: nothing changes
  CHECK(f.pool->ref_count(first) == 2);
}

TEST_CASE("under pressure the least recently used goes first, and never one in use") {
  Fixture f(4);
  const uint32_t a = f.Reusable(1), b = f.Reusable(2), c = f.Reusable(3), d = f.Reusable(4);
  f.index.Acquire(b);  // in use
  f.index.Acquire(a);  // used again: newer than c and d
  f.index.Release(a);
  CHECK(f.index.Allocate() == c);
  CHECK(f.index.Allocate() == d);
  CHECK(f.index.Allocate() == a);
  CHECK_FALSE(f.index.Allocate().has_value());
  CHECK(f.index.num_evictions() == 3);
  CHECK_FALSE(f.index.Find({1, 0}).has_value());
  CHECK(f.index.Find({2, 0}) == b);
}

TEST_CASE("keys that share a bucket are told apart") {
  Fixture f(4);  // four buckets, chosen by the low bits
  const uint32_t a = f.Reusable(8), b = f.Reusable(16), c = f.Reusable(24);
  CHECK(f.index.Find({8, 0}) == a);
  CHECK(f.index.Find({16, 0}) == b);
  CHECK(f.index.Find({24, 0}) == c);
  CHECK_FALSE(f.index.Find({32, 0}).has_value());
  f.index.Allocate();  // the free one
  CHECK(f.index.Allocate() == a);
  CHECK_FALSE(f.index.Find({8, 0}).has_value());
  CHECK(f.index.Find({16, 0}) == b);
  CHECK(f.index.Find({24, 0}) == c);
}

TEST_CASE("a flush forgets one salt or all; blocks in use stay with their users") {
  Fixture f(4);
  const Hash128 other = {9, 9};
  f.Reusable(1);
  f.Reusable(2, other);
  const uint32_t used = f.Reusable(3);
  f.index.Acquire(used);
  CHECK(f.index.Flush(&kSalt) == 1);
  CHECK_FALSE(f.index.Find({3, 0}).has_value());
  CHECK(f.pool->ref_count(used) == 1);
  CHECK(f.index.Find({2, 0}).has_value());
  CHECK(f.index.Flush(nullptr) == 1);
  f.index.Release(used);
  CHECK(f.pool->num_free() == 4);
  CHECK(f.index.num_known() == 0);
}

}  // namespace latentd
