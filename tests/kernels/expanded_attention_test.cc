// Expanded attention from the cache against ordinary attention in double, on every path, and the
// choice between the routes.
#include "kernels/expanded_attention.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/core/thread_pool.h"
#include "tests/kernels/expanded_case.h"

namespace latentd {
namespace {

// The rows of [first, length), as one chunk.
std::vector<float> Run(const ExpandedProblem& p, const Context& context, int64_t first) {
  const int64_t rows = p.length - first, heads = p.g.num_heads;
  std::vector<float> out(static_cast<size_t>(rows * heads * p.g.value_dim), NAN);
  ExpandedAttention(
      context,
      {.geometry = p.g,
       .q = View(p.q, p.length, heads * p.KeyDim()).Rows(first, rows),
       .kv_b = p.KvB(),
       .out = View(out, rows, heads * p.g.value_dim),
       .row_latent = p.RowLatent(),
       .key_norm = p.which.key_norm,
       .softmax_scale = p.Scale(),
       .pool = p.pool.data(),
       .layer = p.layer,
       .sequence = {
           .block_table = p.table, .first_row = 0, .num_tokens = rows, .first_position = first}});
  return out;
}

void CheckCase(const ExpandedCase& c, int64_t length, int64_t first, uint32_t seed) {
  std::mt19937 rng(seed);
  const ExpandedProblem problem(rng, c, length);
  const ExpandedOracle oracle(problem, first);
  ThreadPool two(2);
  for (const CpuPath path : RunnablePaths()) {
    oracle.Require(Run(problem, {path, &two}, first), std::string(Name(path)));
  }
}

}  // namespace

TEST_CASE("expanded attention equals ordinary attention on every path") {
  uint32_t seed = 1;
  for (const KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    CheckCase({{4, 4, 16, 8, 16, 64}, norm}, 70, 0, seed++);
    CheckCase({{6, 2, 12, 0, 10, 37}, norm, DType::kF32}, 131, 60, seed++);  // odd, no rope
    CheckCase({{20, 20, 8, 4, 6, 100}, norm}, 90, 1, seed++);     // more heads than at a time
    CheckCase({{34, 1, 8, 4, 40, 64}, norm}, 100, 33, seed++);    // one group of more
    CheckCase({{3, 3, 16, 8, 24, 64}, norm}, 1100, 480, seed++);  // over tiles of 512
    CheckCase({{2, 1, 16, 8, 24, 64}, norm}, 1026, 1025, seed++);
    CheckCase({{6, 2, 12, 6, 10, 37}, norm, DType::kBF16, CacheFormat::kInt8}, 131, 60, seed++);
    CheckCase({{3, 3, 16, 0, 24, 64}, norm, DType::kF32, CacheFormat::kInt8}, 600, 480, seed++);
  }
}

TEST_CASE("the expanded route is taken where it has less to do") {
  const AttentionGeometry deepseek = {128, 128, 128, 64, 128, 512};
  // Multiply-adds break even at 170 new tokens; a dearer multiply-add moves that up.
  CHECK_FALSE(PrefersExpanded(deepseek, 100'000, 1));
  CHECK_FALSE(PrefersExpanded(deepseek, 100'000, 170));
  CHECK(PrefersExpanded(deepseek, 100'000, 1024));
  CHECK(PrefersExpanded(deepseek, 0, 1024));
  // Once taken it stays taken as the chunk grows, and fewer groups make keys cheaper.
  const AttentionGeometry grouped = {128, 8, 128, 64, 128, 512};
  for (const int64_t first : {0, 1000, 100'000}) {
    for (int64_t n = 2; n < 2000; ++n) {
      REQUIRE(PrefersExpanded(deepseek, first, n) >= PrefersExpanded(deepseek, first, n - 1));
      REQUIRE(PrefersExpanded(grouped, first, n) >= PrefersExpanded(deepseek, first, n));
    }
  }
  // A small latent beside wide heads: never.
  CHECK_FALSE(PrefersExpanded({8, 8, 128, 64, 128, 64}, 1000, 100'000));
}

}  // namespace latentd
