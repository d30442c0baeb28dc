// How expanded attention is cut up on the device, and which chunks take it.
#include "engine/cuda/expanded_plan.h"

#include <catch2/catch.hpp>

namespace latentd {
namespace {

constexpr AttentionGeometry kDeepseek = {128, 128, 128, 64, 128, 512};
constexpr int64_t kMiB = int64_t{1} << 20;

ExpandedNeeds Needs(const AttentionGeometry& g, int64_t most_bytes = 128 * kMiB) {
  return {.geometry = g,
          .row_latent = (g.latent_width + 63) / 64 * 64,
          .max_rows = 8192,
          .span_tokens = 512,
          .most_bytes = most_bytes};
}

int64_t BytesOf(const ExpandedSizes& sizes) {
  DeviceArena arena;
  ExpandedMemory::Place(sizes, arena);
  return static_cast<int64_t>(arena.bytes());
}

bool IsCheaper(const AttentionGeometry& g, int64_t first, int64_t count) {
  const ExpandedNeeds needs = Needs(g);
  return IsCheaperExpanded(PlanExpanded(needs), g.latent_width, needs.row_latent, first, count);
}

}  // namespace

TEST_CASE("sizes fit the bytes, divide the groups and are as large as they may be") {
  const ExpandedSizes whole = PlanExpanded(Needs(kDeepseek));
  CHECK(whole.groups_at_once == 16);
  CHECK(whole.queries_at_once == 512);
  CHECK(BytesOf(whole) < 64 * kMiB);
  // One group of 128 heads, twenty groups, and few rows.
  CHECK(PlanExpanded(Needs({128, 1, 128, 64, 128, 512})).queries_at_once == 64);
  CHECK(PlanExpanded(Needs({20, 20, 64, 32, 64, 512})).groups_at_once == 10);
  ExpandedNeeds few = Needs(kDeepseek);
  few.max_rows = 100;
  CHECK(PlanExpanded(few).queries_at_once == 128);

  int64_t least = 0;
  for (int64_t bytes = 64 * kMiB; bytes > 0; bytes -= kMiB) {
    const ExpandedSizes sizes = PlanExpanded(Needs(kDeepseek, bytes));
    if (sizes.queries_at_once == 0) break;
    least = bytes;
    REQUIRE(BytesOf(sizes) <= bytes);
    REQUIRE(128 % sizes.groups_at_once == 0);
    REQUIRE(sizes.queries_at_once % kExpandedTile == 0);
  }
  // The state of 8192 rows is 8 MiB, gathered latents are half a MiB.
  CHECK(least > 8 * kMiB);
  CHECK(least < 12 * kMiB);
  CHECK(BytesOf(PlanExpanded(Needs(kDeepseek, least - kMiB))) == 0);
}

TEST_CASE("long chunks have fewer multiply-adds expanded") {
  CHECK_FALSE(IsCheaper(kDeepseek, 100'000, 1));
  CHECK_FALSE(IsCheaper(kDeepseek, 100'000, 128));
  CHECK(IsCheaper(kDeepseek, 100'000, 192));
  CHECK(IsCheaper(kDeepseek, 0, 64));
  CHECK(IsCheaper(kDeepseek, 0, 8192));
  CHECK_FALSE(IsCheaper({8, 8, 128, 64, 128, 64}, 1000, 8192));  // a small latent: never
  // One group of many heads: few keys to expand, but no chunk of fewer than 32 tokens.
  const AttentionGeometry shared = {128, 1, 32, 16, 32, 512};
  CHECK(IsCheaper(shared, 1000, 32));
  CHECK_FALSE(IsCheaper(shared, 100'000, 31));
  // The models of the end-to-end tests, with their prompts.
  CHECK(IsCheaper({4, 4, 32, 16, 24, 48}, 0, 128));
  CHECK(IsCheaper({6, 3, 12, 8, 10, 256}, 0, 128));
  CHECK(IsCheaper({6, 6, 24, 16, 40, 64}, 64, 192));
  CHECK(IsCheaper({12, 4, 16, 16, 32, 64}, 0, 256));  // the demo model, by scripts/gpu-check
}

// Pairs counted one by one. 320 multiply-adds of a pair and head against 1088, and 131,072 for each
// key and group or query and head.
TEST_CASE("multiply-adds are those of tiles of 64") {
  const ExpandedNeeds needs = Needs(kDeepseek);
  ExpandedSizes sizes = PlanExpanded(needs);
  sizes.queries_at_once = 128;
  const auto up = [](int64_t value) { return (value + 63) / 64 * 64; };
  int64_t taken = 0;
  for (const int64_t first : {0, 1, 63, 64, 500, 4000}) {
    for (int64_t count = 32; count <= 700; count += 7) {
      int64_t absorbed = count * 131'072, expanded = up(first + count) * 131'072;
      for (int64_t i = 0; i < count; ++i) absorbed += up(first + i + 1) * 1088;
      for (int64_t row = 0; row < count; row += 128) {
        const int64_t queries = std::min<int64_t>(128, count - row);
        expanded += up(queries) * up(first + row + queries) * 320;
      }
      CAPTURE(first, count);
      REQUIRE(IsCheaperExpanded(sizes, 512, 512, first, count) == (expanded < absorbed));
      taken += expanded < absorbed ? 1 : 0;
    }
  }
  CHECK(taken > 100);
  CHECK(taken < 500);
}

}  // namespace latentd
