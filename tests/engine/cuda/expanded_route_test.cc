// The expanded route over the emulated device and library, one chunk of one layer at a time,
// against ordinary attention in double.
#include "engine/cuda/expanded_route.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "engine/cuda/step_inputs.h"
#include "tests/engine/model/model_runner.h"
#include "tests/kernels/cuda/emulated_device.h"
#include "tests/kernels/expanded_case.h"

namespace latentd {
namespace {

struct Cut {
  int64_t span_tokens, most_bytes;
  int64_t queries_at_once;  // what the bytes give
};

// Weights whose rows lie further apart than the width, as those of a wider model do; NaN behind.
std::vector<bf16> WiderWeights(const ExpandedProblem& problem, int64_t ld) {
  const int64_t width = problem.g.latent_width;
  const WeightView from = problem.KvB();
  std::vector<bf16> to(static_cast<size_t>(from.rows * ld), bf16{0xffff});
  for (int64_t i = 0; i < from.rows; ++i) {
    std::copy_n(problem.packed.data() + i * width, width, to.data() + i * ld);
  }
  return to;
}

// A model of one layer, the attention of the problem.
struct RouteRunner {
  RouteRunner(const ExpandedProblem& p, const Cut& cut)
      : problem(p), ld((p.g.latent_width + 15) / 8 * 8), kv_b(WiderWeights(p, ld)) {
    config = Geometry();
    config.num_heads = p.g.num_heads;
    config.num_kv_groups = p.g.num_kv_groups;
    config.qk_nope_head_dim = p.g.nope_dim;
    config.qk_rope_head_dim = p.g.rope_dim;
    config.rope.inv_freq.assign(static_cast<size_t>(p.g.rope_dim / 2), 1);
    config.v_head_dim = p.g.value_dim;
    config.kv_lora_rank = ld;
    config.key_norm = p.which.key_norm;
    config.softmax_scale = p.Scale();
    const StepLimits limits = {.max_rows = p.length,
                               .max_sequences = 1,
                               .max_context = p.length,
                               .partial_bytes = 1 << 10,
                               .relaxed = true,
                               .expanded_bytes = cut.most_bytes,
                               .expanded_span_tokens = cut.span_tokens};
    const BlockLayout layout = BlockLayout::Make(1, ld, p.g.rope_dim, p.NumAlphas());
    DeviceArena count;
    Activations::Place(config, layout, limits, count);
    memory = std::make_unique<cuda::DeviceBuffer>(count.bytes());
    DeviceArena arena(memory->data());
    a = Activations::Place(config, layout, limits, arena);
    weights.layers.resize(1);
    weights.layers[0].kv_b_proj = {kv_b.data(), DType::kBF16, p.KvB().rows, ld, ld};
    std::string why;
    library = cuda::BlasLt::TryMake(&why);
  }

  std::vector<float> Run(int64_t first) {
    const int64_t rows = problem.length - first, heads = problem.g.num_heads;
    std::vector<float> out(static_cast<size_t>(rows * heads * problem.g.value_dim), NAN);
    ExpandedRoute route(config, weights, nullptr, library.get(), a);
    const MatrixView<const float> q = View(problem.q, problem.length, heads * problem.KeyDim());
    route.Attend({.kv_b = weights.layers[0].kv_b_proj.Leading(problem.g.latent_width),
                  .q = q.Rows(first, rows),
                  .out = View(out, rows, heads * problem.g.value_dim),
                  .pool = problem.pool.data(),
                  .layer = problem.layer,
                  .row_latent = problem.RowLatent(),
                  .block_table = problem.table.data(),
                  .first_position = first});
    return out;
  }

  const ExpandedProblem& problem;
  const int64_t ld;
  const std::vector<bf16> kv_b;
  ModelConfig config;
  DeviceWeights weights;
  std::unique_ptr<cuda::DeviceBuffer> memory;
  Activations a;
  std::unique_ptr<cuda::BlasLt> library;
};

void CheckCase(const ExpandedCase& c, int64_t length, int64_t first, const Cut& cut,
               uint32_t seed) {
  std::mt19937 rng(seed);
  const ExpandedProblem problem(rng, c, length);
  RouteRunner runner(problem, cut);
  CAPTURE(cut.span_tokens, runner.a.expanded_sizes.groups_at_once);
  REQUIRE(runner.a.expanded_sizes.queries_at_once == cut.queries_at_once);
  ExpandedOracle(problem, first).Require(runner.Run(first), "device");
}

constexpr int64_t kAmple = int64_t{128} << 20;

}  // namespace

TEST_CASE("the expanded route on the device equals ordinary attention") {
  uint32_t seed = 1;
  for (const KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    CheckCase({{4, 4, 16, 8, 16, 64}, norm}, 70, 0, {512, kAmple, 128}, seed++);
    CheckCase({{6, 2, 12, 0, 10, 37}, norm}, 131, 60, {64, kAmple, 192}, seed++);  // odd, no rope
    CheckCase({{20, 20, 8, 4, 6, 100}, norm}, 90, 1, {64, kAmple, 128}, seed++);   // of 10 groups
    CheckCase({{34, 1, 8, 4, 40, 64}, norm}, 100, 33, {128, kAmple, 128}, seed++);
    CheckCase({{3, 3, 16, 8, 24, 64}, norm}, 700, 480, {512, kAmple, 512}, seed++);
    // Pieces of 64 queries of one group, from the middle of a span.
    CheckCase({{3, 3, 16, 8, 24, 64}, norm}, 300, 40, {64, 170'000, 64}, seed++);
    CheckCase({{4, 2, 16, 8, 24, 64}, norm}, 333, 128, {128, 350'000, 64}, seed++);
  }
}

TEST_CASE("which chunks the route takes") {
  std::mt19937 rng(1);
  const ExpandedProblem problem(rng, {{4, 4, 32, 16, 24, 64}}, 200);
  RouteRunner runner(problem, {64, kAmple, 256});
  const auto takes = [&](int64_t tokens) {
    ExpandedRoute route(runner.config, runner.weights, nullptr, runner.library.get(), runner.a);
    return route.Takes({{}, 0, tokens, 1000}, 64);
  };
  CHECK(takes(200));
  CHECK_FALSE(takes(1));
  CHECK_FALSE(ExpandedRoute(runner.config, runner.weights, nullptr, nullptr, runner.a)
                  .Takes({{}, 0, 200, 1000}, 64));  // strict
  WeightView& kv_b = runner.weights.layers[0].kv_b_proj;
  const WeightView good = kv_b;
  kv_b.dtype = DType::kF16;
  CHECK_FALSE(takes(200));
  kv_b = good;
  kv_b.ld = 60;  // rows at odd places
  CHECK_FALSE(takes(200));
  kv_b = good;
  CHECK(takes(200));
  runner.weights.layers.push_back(runner.weights.layers[0]);
  CHECK(takes(200));
  runner.weights.layers[1].kv_b_proj.ld += 8;  // shapes of its own
  CHECK_FALSE(takes(200));
  runner.weights.layers.pop_back();
  runner.a.expanded_sizes = {};  // no memory for it
  CHECK_FALSE(takes(200));
}

// Whichever product it is that the library does not know, and for however few queries and keys.
TEST_CASE("the route is taken only if the library knows every product that it may need") {
  std::mt19937 rng(1);
  const ExpandedProblem problem(rng, {{4, 4, 32, 16, 24, 64}}, 200);
  RouteRunner runner(problem, {128, kAmple, 256});
  const ExpandedSizes& sizes = runner.a.expanded_sizes;
  uint64_t asked = 0;
  ExpandedRoute route(runner.config, runner.weights, nullptr, runner.library.get(), runner.a);
  const auto takes = [&](ExpandedRoute& which, const cuda::LibraryShape& unknown) {
    cuda::LeaveOutOfEmulatedLibrary([&](const cuda::LibraryShape& shape) {
      ++asked;
      return shape == unknown;
    });
    const bool is_taken = which.Takes({{}, 0, 200, 1000}, 64);
    cuda::LeaveOutOfEmulatedLibrary([](const cuda::LibraryShape&) { return false; });
    return is_taken;
  };
  const std::vector<cuda::LibraryShape> needed = {
      ProjectionShape(sizes, 64, runner.ld, 64), ScoresShape(sizes, 64, 128),
      ScoresShape(sizes, 256, 64), ValuesShape(sizes, 64, 64), ValuesShape(sizes, 256, 128)};
  for (const cuda::LibraryShape& shape : needed) {
    ExpandedRoute fresh(runner.config, runner.weights, nullptr, runner.library.get(), runner.a);
    CHECK_FALSE(takes(fresh, shape));
    CHECK_FALSE(takes(fresh, {}));  // it was asked once
  }
  asked = 0;
  CHECK(takes(route, {}));
  CHECK(asked == 2 + 2 * 2 * 4);  // two lengths of a span, four numbers of queries
  CHECK(takes(route, {}));
  CHECK(asked == 2 + 2 * 2 * 4);
}

TEST_CASE("a chunk that is expanded is in no launch of the step, every other row in one") {
  std::mt19937 rng(1);
  const ExpandedProblem problem(rng, {{4, 4, 32, 16, 24, 64}}, 200);
  RouteRunner runner(problem, {64, kAmple, 256});
  ExpandedRoute route(runner.config, runner.weights, nullptr, runner.library.get(), runner.a);
  StepSender sender(runner.config,
                    {.max_rows = 256,
                     .max_sequences = 8,
                     .max_context = 2048,
                     .partial_bytes = 1 << 20,
                     .relaxed = true},
                    3, &route);
  const std::vector<uint32_t> ids(100);
  std::vector<std::vector<uint32_t>> tables;
  StepPlan plan;
  for (const int64_t count : {1, 100, 3, 1, 90}) {
    tables.emplace_back(32, static_cast<uint32_t>(count));
    PlanEntry& entry = plan.entries.emplace_back();
    entry.first_position = 1000;
    entry.token_ids = std::span(ids).first(static_cast<size_t>(count));
  }
  for (size_t i = 0; i < tables.size(); ++i) plan.entries[i].block_table = tables[i];
  StepBatch batch;
  batch.Build(plan, runner.config.full_width());
  const cuda::Stream stream;
  const StepInputs& inputs = sender.Send(stream.get(), &batch, {});

  REQUIRE(inputs.expanded.size() == 1);
  REQUIRE(inputs.expanded[0].size() == 2);
  std::vector<int> times(195 * 4);  // each row and head is attended to
  for (const ExpandedStep& step : inputs.expanded[0]) {
    CHECK(step.first_row == (step.num_tokens == 100 ? 1 : 105));
    CHECK(step.first_position == 1000);
    CHECK(step.block_table[15] == static_cast<uint32_t>(step.num_tokens));
    for (int64_t i = 0; i < step.num_tokens * 4; ++i) {
      ++times[static_cast<size_t>(step.first_row * 4 + i)];
    }
  }
  for (const AttentionStep& launch : inputs.groups[0]) {
    for (const cuda::DecodeRowTile& tile : launch.plan.row_tiles) {
      for (int32_t i = 0; i < tile.num_rows; ++i) ++times[static_cast<size_t>(tile.q_row + i)];
    }
  }
  CHECK(times == std::vector<int>(195 * 4, 1));
}

}  // namespace latentd
