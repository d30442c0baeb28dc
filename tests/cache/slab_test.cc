// Pages that hold blocks of one width class at a time: how many fit, who gets which page, and what
// is evicted for a page.
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>

#include "cache/block_pool.h"
#include "cache/prefix_index.h"

namespace latentd {
namespace {

// Twelve layers, d_r 64, four key-normed groups: the geometry whose figures the design names.
PageShape Reference() {
  PageShape shape{{}, 16};
  for (int64_t width : {512, 384, 256, 128, 64}) {
    shape.classes.push_back(BlockLayout::Make(12, width, 64, 4));
  }
  return shape;
}

// Pages of 4, 6 or 12 blocks, by class.
PageShape Small() {
  return {{BlockLayout::Make(1, 192, 0, 0), BlockLayout::Make(1, 128, 0, 0),
           BlockLayout::Make(1, 64, 0, 0)},
          4};
}

std::unique_ptr<BlockPool> MakePool(int64_t num_pages, PageShape shape = Small()) {
  auto pool = BlockPool::Create(std::move(shape), num_pages, {.poison = true, .may_allocate = {}});
  REQUIRE(pool.ok());
  return *std::move(pool);
}

std::vector<uint32_t> AllocateAll(BlockPool& pool, size_t cls) {
  std::vector<uint32_t> granules;
  while (const auto granule = pool.Allocate(cls)) granules.push_back(*granule);
  return granules;
}

struct Fixture {
  explicit Fixture(int64_t num_pages)
      : pool(MakePool(num_pages)), index(pool.get(), Hash128{1, 2}) {}

  std::vector<uint32_t> Take(size_t cls, int count) {
    std::vector<uint32_t> granules;
    for (int i = 0; i < count; ++i) granules.push_back(index.Allocate(cls).value());
    return granules;
  }
  // Known under keys of their own, and in use no more.
  void MakeReusable(const std::vector<uint32_t>& granules) {
    for (uint32_t granule : granules) {
      index.Publish({++last_key, 0}, {0, 0}, granule);
      index.Release(granule);
    }
  }

  std::unique_ptr<BlockPool> pool;
  PrefixIndex index;
  uint64_t last_key = 0;
};

}  // namespace

TEST_CASE("16 pages' worth of room holds more blocks the narrower they are") {
  const PageShape shape = Reference();
  const int64_t expected[] = {16, 20, 28, 46, 68};
  for (size_t cls = 0; cls < 5; ++cls) {
    CAPTURE(cls);
    CHECK(shape.blocks_per_page(cls) == expected[cls]);
    auto pool = MakePool(3, Reference());
    CHECK(pool->num_free(cls) == 3 * expected[cls]);
    CHECK(static_cast<int64_t>(AllocateAll(*pool, cls).size()) == 3 * expected[cls]);
    CHECK(pool->num_free(cls) == 0);
  }
}

TEST_CASE("a rank belongs to the narrowest class that holds it") {
  const PageShape shape = Reference();
  const std::pair<int64_t, size_t> ranks[] = {{0, 0},   {512, 0}, {385, 0}, {384, 1},
                                              {257, 1}, {256, 2}, {241, 2}, {129, 2},
                                              {65, 3},  {64, 4},  {37, 4},  {1, 4}};
  for (const auto& [rank, cls] : ranks) {
    CAPTURE(rank);
    CHECK(shape.ClassOf(rank) == cls);
  }
  CHECK(PageShape{{BlockLayout::Make(1, 64, 0, 0)}, 1}.ClassOf(1) == 0);
}

TEST_CASE("blocks of all classes lie apart, inside their page and the pool") {
  auto pool = MakePool(3);
  std::map<int64_t, int64_t> bytes;  // begin → end
  for (size_t cls = 0; cls < 3; ++cls) {
    for (int64_t i = 0; i < pool->shape().blocks_per_page(cls); ++i) {
      const uint32_t granule = pool->Allocate(cls).value();
      const int64_t begin = int64_t{granule} * kGranuleBytes;
      bytes[begin] = begin + pool->layout(cls).block_bytes;
      CHECK(pool->ClassOfPage(pool->PageOf(granule)) == cls);
      CHECK(pool->PageOf(granule) == (bytes[begin] - 1) / pool->shape().page_bytes());
      CHECK(pool->GranuleOf(pool->IndexOf(granule)) == granule);
      CHECK(pool->Row(granule, 0, 63) - pool->base() + pool->layout(cls).row_bytes <= bytes[begin]);
    }
  }
  CHECK(bytes.size() == 4 + 6 + 12);
  int64_t last = 0;
  for (const auto& [begin, end] : bytes) {
    CHECK(begin >= last);
    last = end;
  }
  CHECK(last <= 3 * pool->shape().page_bytes());
}

TEST_CASE("a page goes back with its last block, and to any class") {
  auto pool = MakePool(1);
  const std::vector<uint32_t> narrow = AllocateAll(*pool, 2);
  REQUIRE(narrow.size() == 12);
  for (size_t i = 0; i < narrow.size(); ++i) {
    CHECK(pool->num_free_pages() == 0);
    CHECK(pool->num_free(0) == 0);
    CHECK(pool->num_free(2) == static_cast<int64_t>(i));
    pool->Unref(narrow[i]);
  }
  CHECK(pool->num_free_pages() == 1);
  CHECK(pool->num_allocated() == 0);
  CHECK(AllocateAll(*pool, 0).size() == 4);
}

TEST_CASE("new blocks go to the fullest page that has room, so that others can empty") {
  auto pool = MakePool(3);
  const auto first = AllocateAll(*pool, 0);
  REQUIRE(first.size() == 12);
  // Pages 0, 1 and 2 are left with 1, 3 and 2 blocks.
  for (size_t i : {0, 1, 2, 4, 8, 9}) pool->Unref(first[i]);
  const auto page_of_next = [&] { return pool->PageOf(pool->Allocate(0).value()); };
  CHECK(page_of_next() == 1);
  CHECK(page_of_next() == 2);
  CHECK(page_of_next() == 2);
  CHECK(page_of_next() == 0);
}

TEST_CASE("for a page, the emptiest of another class gives way as a whole") {
  Fixture f(3);
  f.MakeReusable(f.Take(2, 12));  // page 0, oldest
  f.MakeReusable(f.Take(1, 6));   // page 1
  f.MakeReusable(f.Take(1, 3));   // page 2
  CHECK(f.index.NumAvailable(0) == 12);
  CHECK(f.index.Allocate(0).has_value());
  CHECK(f.index.num_evictions() == 3);  // page 2: fewest, though not oldest
  CHECK(f.index.num_reusable(1) == 6);
  CHECK(f.index.num_reusable(2) == 12);
}

TEST_CASE("a page with a block in use is no page to be had") {
  Fixture f(2);
  const auto held = f.Take(1, 6);
  auto narrow = f.Take(2, 5);
  const uint32_t used = narrow.back();
  narrow.pop_back();
  f.MakeReusable(narrow);
  CHECK(f.index.NumAvailable(0) == 0);
  CHECK_FALSE(f.index.Allocate(0).has_value());
  CHECK(f.index.num_evictions() == 0);  // nothing is thrown away in vain
  CHECK(f.index.NumAvailable(2) == 12 - 1);
  f.index.Release(used);
  CHECK(f.index.NumAvailable(0) == 4);
  CHECK(f.index.Allocate(0).has_value());
}

TEST_CASE("the class's own oldest gives way, unless another class was used even longer ago") {
  Fixture f(2);
  const auto wide = f.Take(0, 4);
  const auto narrow = f.Take(2, 12);
  SECTION("own is older") {
    f.MakeReusable(narrow);
    f.MakeReusable(wide);
    CHECK(f.index.Allocate(2) == narrow[0]);
    CHECK(f.index.num_evictions() == 1);
  }
  SECTION("the other is older") {
    f.MakeReusable(wide);
    f.MakeReusable(narrow);
    const uint32_t granule = f.index.Allocate(2).value();
    CHECK(f.pool->PageOf(granule) == f.pool->PageOf(wide[0]));
    CHECK(f.index.num_evictions() == 4);
    CHECK(f.index.num_reusable(2) == 12);
  }
  SECTION("the other is older, but one of its blocks is in use") {
    f.MakeReusable({wide.begin(), wide.begin() + 3});
    f.MakeReusable(narrow);
    CHECK(f.index.Allocate(2) == narrow[0]);
    CHECK(f.index.num_reusable(0) == 3);
  }
}

TEST_CASE("what is said to be available is what can be allocated") {
  std::mt19937 random(1);
  const auto draw = [&](size_t count) { return random() % count; };
  int64_t compared = 0;
  for (int round = 0; round < 400; ++round) {
    Fixture f(static_cast<int64_t>(1 + draw(5)));
    std::vector<uint32_t> held;
    for (size_t i = 0; i < 60; ++i) {
      if (draw(3) > 0) {
        if (const auto granule = f.index.Allocate(draw(3))) held.push_back(*granule);
      } else if (!held.empty()) {
        std::swap(held[draw(held.size())], held.back());
        if (draw(4) > 0) f.index.Publish({++f.last_key, 0}, {0, 0}, held.back());
        f.index.Release(held.back());
        held.pop_back();
      }
    }
    const size_t cls = draw(3);
    const int64_t expected = f.index.NumAvailable(cls);
    int64_t count = 0;
    while (f.index.Allocate(cls)) ++count;
    CAPTURE(round, cls);
    REQUIRE(count == expected);
    compared += count;
  }
  CHECK(compared > 1000);
}

}  // namespace latentd
