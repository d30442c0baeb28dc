#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <set>

#include "engine/bench/bench_cache.h"
#include "engine/bench/bench_runner.h"
#include "tests/fakes/fake_executor.h"

namespace latentd {
namespace {

constexpr int64_t kLayers = 2, kLatent = 70, kRope = 6, kGroups = 3;

std::unique_ptr<BlockPool> Pool(int64_t blocks) {
  return *BlockPool::Create(BlockLayout::Make(kLayers, kLatent, kRope, kGroups), blocks,
                            {.poison = true, .may_allocate = {}});
}

}  // namespace

TEST_CASE("sequences have blocks of their own, which go back at the end") {
  const auto pool = Pool(8);
  FakeExecutor executor(pool.get(), {});
  {
    BenchCache cache(pool.get(), &executor, 16);
    REQUIRE(cache.Resize(3, 65, {}).ok());
    std::set<uint32_t> granules;
    for (int64_t i = 0; i < 3; ++i) {
      REQUIRE(cache.table(i).size() == 2);
      granules.insert(cache.table(i).begin(), cache.table(i).end());
    }
    CHECK(granules.size() == 6);
    REQUIRE(cache.Resize(4, 128, {}).ok());  // what was held makes room
    CHECK(pool->num_free() == 0);
    const absl::Status status = cache.Resize(3, 129, {});
    CHECK(absl::IsResourceExhausted(status));
    CHECK(std::string(status.message()).find("9 cache blocks and the pool has 8") !=
          std::string::npos);
  }
  CHECK(pool->num_free() == 8);
}

TEST_CASE("a computed cache is the same for every sequence") {
  const auto pool = Pool(6);
  FakeExecutor executor(pool.get(), {});
  BenchCache cache(pool.get(), &executor, 16);
  REQUIRE(cache.Resize(3, 100, {}).ok());
  cache.Compute(100);
  for (int64_t position = 0; position < 100; ++position) {
    const auto block = static_cast<size_t>(position / kBlockTokens);
    const int64_t offset = position % kBlockTokens;
    FakeSlot slots[3];
    for (int64_t i = 0; i < 3; ++i) {
      std::memcpy(&slots[i], pool->Row(cache.table(i)[block], 0, offset), sizeof(FakeSlot));
    }
    CHECK(slots[0].position == static_cast<uint32_t>(position));
    CHECK(std::memcmp(&slots[0], &slots[1], sizeof(FakeSlot)) == 0);
    CHECK(std::memcmp(&slots[0], &slots[2], sizeof(FakeSlot)) == 0);
  }
}

namespace {

// Blocks outside the pool, as on a device: what is written arrives at Finish.
class OtherMemory : public BlockMemory {
 public:
  explicit OtherMemory(const BlockPool& pool)
      : bytes_(static_cast<size_t>(pool.num_pages() * pool.shape().page_bytes())) {}

  void Write(uint32_t granule, std::span<const std::byte> from) override {
    written_.emplace_back(granule, std::vector<std::byte>(from.begin(), from.end()));
  }
  void Copy(uint32_t from, uint32_t to, int64_t bytes) override {
    const std::byte* begin = Block(from);
    written_.emplace_back(to, std::vector<std::byte>(begin, begin + bytes));
  }
  void Finish() override {
    for (const auto& [granule, bytes] : written_) {
      std::copy(bytes.begin(), bytes.end(), Block(granule));
    }
    written_.clear();
  }
  std::byte* Block(uint32_t granule) {
    return bytes_.data() + static_cast<size_t>(granule) * kGranuleBytes;
  }
  bool is_finished() const { return written_.empty(); }

 private:
  std::vector<std::byte> bytes_;
  std::vector<std::pair<uint32_t, std::vector<std::byte>>> written_;
};

}  // namespace

TEST_CASE("a cache outside the pool is filled like one in it") {
  const auto pool = Pool(6);
  FakeExecutor executor(pool.get(), {});
  OtherMemory memory(*pool);
  BenchCache cache(pool.get(), &executor, 16, &memory);
  REQUIRE(cache.Resize(3, 100, {0, kLatent}).ok());
  cache.Synthesize(100);
  REQUIRE(memory.is_finished());
  std::vector<std::byte> expected(static_cast<size_t>(pool->layout().block_bytes));
  for (int64_t i = 0; i < 3; ++i) {
    for (const uint32_t granule : cache.table(i)) {
      std::fill(expected.begin(), expected.end(), std::byte{});
      SynthesizeBlock(expected.data(), pool->layout(), kLatent, granule);
      CHECK(std::memcmp(memory.Block(granule), expected.data(), expected.size()) == 0);
    }
  }
  cache.Compute(100);  // the executor writes to the pool; copies are made where the blocks lie
  REQUIRE(memory.is_finished());
  for (int64_t i = 1; i < 3; ++i) {
    for (size_t b = 0; b < 2; ++b) {
      CHECK(std::memcmp(memory.Block(cache.table(i)[b]), memory.Block(cache.table(0)[b]),
                        expected.size()) == 0);
    }
  }
}

TEST_CASE("work writes the slots after the depth, and can be repeated") {
  const auto pool = Pool(4);
  FakeExecutor executor(pool.get(), {});
  BenchCache cache(pool.get(), &executor, 16);
  REQUIRE(cache.Resize(2, 60, {}).ok());
  cache.Compute(20);
  const BenchWork decode{BenchWork::Kind::kDecode, 20, 2, 1, {}};
  const BenchWork prefill{BenchWork::Kind::kPrefill, 20, 1, 40, {}};
  const auto slot = [&](int64_t sequence, int64_t position) {
    FakeSlot s;
    std::memcpy(&s, pool->Row(cache.table(sequence)[0], 0, position), sizeof(s));
    return s;
  };
  for (int repetition = 0; repetition < 2; ++repetition) {
    RunWork(&executor, cache, 16, decode);
    CHECK(slot(0, 20).position == 20);
    CHECK(slot(1, 20).position == 20);
    CHECK(slot(0, 20).token != slot(1, 20).token);
    RunWork(&executor, cache, 16, prefill);
    for (int64_t position = 20; position < 60; ++position) {
      CHECK(slot(0, position).position == static_cast<uint32_t>(position));
    }
    CHECK(slot(1, 19).position == 19);
  }
}

TEST_CASE("random latents fill all of a row and nothing past the width") {
  const auto pool = Pool(2);
  const BlockLayout& layout = pool->layout();
  const uint32_t a = *pool->Allocate(), b = *pool->Allocate();
  const int64_t width = GENERATE(1, 37, 70);
  SynthesizeBlock(pool->Block(a), layout, width, 5);
  SynthesizeBlock(pool->Block(b), layout, width, 5);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    for (int64_t t = 0; t < kBlockTokens; ++t) {
      const auto* row = reinterpret_cast<const bf16*>(pool->Row(a, layer, t));
      CHECK(std::memcmp(row, pool->Row(b, layer, t), static_cast<size_t>(layout.row_bytes)) == 0);
      for (int64_t j = 0; j < layout.row_latent + kRope; ++j) {
        const float size = std::abs(ToFloat(row[j]));
        const bool lane = j < width || j >= layout.row_latent;
        REQUIRE((lane ? size >= 0.5f && size < 1 : row[j].bits == 0));
      }
      for (int64_t g = 0; g < kGroups; ++g) {
        const float alpha = pool->Alphas(a, layer, t)[g];
        REQUIRE((alpha >= 1 && alpha < 1.5f));
      }
    }
  }
  SynthesizeBlock(pool->Block(b), layout, width, 6);
  CHECK(std::memcmp(pool->Block(a), pool->Block(b), static_cast<size_t>(layout.block_bytes)) != 0);
}

TEST_CASE("random latents of an int8 cache are of the same size") {
  const BlockLayout layout =
      BlockLayout::Make(kLayers, kLatent, kRope, kGroups, CacheFormat::kInt8);
  const auto pool = *BlockPool::Create(layout, 1, {.poison = true, .may_allocate = {}});
  const uint32_t block = *pool->Allocate();
  const int64_t width = GENERATE(1, 37, 70);
  SynthesizeBlock(pool->Block(block), layout, width, 5);
  for (int64_t layer = 0; layer < kLayers; ++layer) {
    const auto* scales =
        reinterpret_cast<const float*>(pool->Block(block) + layout.layer(layer).scales);
    for (int64_t t = 0; t < kBlockTokens; ++t) {
      const auto* c = reinterpret_cast<const int8_t*>(pool->Row(block, layer, t));
      for (int64_t j = 0; j < layout.row_latent; ++j) {
        const float size = std::abs(c[j] * scales[t]);
        REQUIRE((j < width ? size > 0.49f && size < 1 : c[j] == 0));
      }
      const auto* rope = reinterpret_cast<const bf16*>(c + layout.row_latent);
      for (int64_t j = 0; j < kRope; ++j) REQUIRE(std::abs(ToFloat(rope[j])) >= 0.5f);
      for (int64_t g = 0; g < kGroups; ++g) REQUIRE(pool->Alphas(block, layer, t)[g] >= 1);
    }
  }
}

}  // namespace latentd
