// Relaxed on the CUDA back end: long prompt chunks by the expanded route, whole models, emulated.
#include <atomic>
#include <catch2/catch.hpp>

#include "engine/cuda/expanded_plan.h"
#include "kernels/cuda/library_product.h"
#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/cuda/relaxed_bound.h"
#include "tests/engine/model/compare_logits.h"
#include "tests/engine/model/naive_model.h"
#include "tests/engine/model/sliced_model.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

using Logits = std::vector<std::vector<float>>;

// Contexts cross spans of 64 tokens, and chunks are several pieces.
StepLimits Limits(int64_t expanded_bytes = 600'000) {
  StepLimits limits = DeviceRunner::Limits(1 << 20, /*relaxed=*/true);
  limits.expanded_bytes = expanded_bytes;
  limits.expanded_span_tokens = 64;
  return limits;
}

void CheckWithin(const NaiveResult& truth, const Logits& logits, int64_t layers) {
  const Difference difference = Compare(truth, logits, layers, Determinism::kRelaxed);
  INFO(difference.where);
  CHECK(difference.worst <= Allowed(truth.largest_score, layers, 2));
}

struct Ran {
  Logits logits;
  uint64_t products;
};
Ran RunLimited(const RandomModel& model, const std::vector<uint32_t>& ids,
               const StepLimits& limits) {
  const uint64_t before = cuda::EmulatedLibraryProducts();
  DeviceRunner runner(model.config, model.weights, limits);
  auto s = runner.NewSequence(ids);
  runner.Step({{&s, static_cast<int64_t>(ids.size())}});
  return {std::move(s.logits), cuda::EmulatedLibraryProducts() - before};
}

}  // namespace

TEST_CASE("relaxed on the device: long chunks take the expanded route, within the bound") {
  uint32_t seed = 200;
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (int64_t groups : {1, 2, 6}) {
      const int64_t rope_dim = groups == 2 ? 0 : 8;
      ModelConfig config = Geometry();
      config.key_norm = norm;
      config.num_kv_groups = groups;
      config.qk_rope_head_dim = rope_dim;
      config.rope.magnitude = 1.25f;
      // Queries that grow with their position; families that have them normalise no keys.
      config.rope.query_beta = norm == KeyNorm::kNone && groups == 6 ? 0.5 : 0;
      config.rope.query_context = 64;
      if (rope_dim == 0) config.rope.inv_freq.clear();
      CAPTURE(static_cast<int>(norm), groups, rope_dim, seed);
      const RandomModel model = MakeRandomModel(config, seed++, DType::kBF16);
      const std::vector<uint32_t> ids = Tokens(200, seed), other = Tokens(20, seed + 1);
      const NaiveResult truth = NaiveForward(config, model.weights, ids, CacheFormat::kBf16);
      // Neighbours that decode or are short, a long chunk between them, and another one behind it.
      DeviceRunner runner(config, model.weights, Limits());
      auto before = runner.NewSequence(other), s = runner.NewSequence(ids);
      auto after = runner.NewSequence(other);
      runner.Step({{&before, 1}, {&s, 120}, {&after, 3}});
      runner.Step({{&s, 79}, {&before, 1}});
      runner.Step({{&after, 2}, {&s, 1}, {&before, 18}});
      CheckWithin(truth, s.logits, config.num_layers);
      const NaiveResult short_truth =
          NaiveForward(config, model.weights, other, CacheFormat::kBf16);
      CheckWithin(short_truth, before.logits, config.num_layers);
    }
  }
}

// In each of two layers the expanded chunk has, in the first span, a projection and two products of
// both its pieces, in the second, which the first piece does not see, three; the absorbed one W_UK
// and W_UV. The others, five a layer and the head in tiles of 64 rows, are the same.
TEST_CASE("an expanded chunk has the products of its spans and pieces") {
  const RandomModel model = MakeRandomModel(Geometry(), 5, DType::kBF16);
  const std::vector<uint32_t> ids = Tokens(100, 6);
  StepLimits limits = Limits(300'000);
  const Ran expanded = RunLimited(model, ids, limits);
  limits.expanded_bytes = 0;
  const Ran absorbed = RunLimited(model, ids, limits);
  CHECK(absorbed.products == 2 * (6 + 2) + 2);
  CHECK(expanded.products == 2 * (6 + 5 + 3) + 2);
  CHECK(expanded.logits != absorbed.logits);
  // Weights that are not for the library stay absorbed.
  CHECK(RunLimited(MakeRandomModel(Geometry(), 5), ids, Limits()).products == 0);
}

TEST_CASE("a product that the library does not know keeps chunks absorbed, bit for bit") {
  const RandomModel model = MakeRandomModel(Geometry(), 7, DType::kBF16);
  const std::vector<uint32_t> ids = Tokens(100, 8);
  const Ran absorbed = RunLimited(model, ids, Limits(0));
  // Scores, the only products without transposition of a batch with 20 lanes.
  cuda::LeaveOutOfEmulatedLibrary(
      [](const cuda::LibraryShape& shape) { return shape.batch > 1 && shape.k == 20; });
  const Ran unknown = RunLimited(model, ids, Limits());
  cuda::LeaveOutOfEmulatedLibrary([](const cuda::LibraryShape&) { return false; });
  RequireSameBits(unknown.logits, absorbed.logits);
  CHECK(unknown.products == absorbed.products);
}

TEST_CASE("a cancelled neighbour changes no bit of an expanded chunk") {
  const RandomModel model = MakeRandomModel(Geometry(), 9, DType::kBF16);
  const std::vector<uint32_t> ids = Tokens(90, 10), gone = Tokens(100, 11);
  for (const bool first : {true, false}) {
    std::vector<Logits> kept;
    for (const bool is_cancelled : {false, true}) {
      DeviceRunner runner(model.config, model.weights, Limits());
      auto s = runner.NewSequence(ids), neighbour = runner.NewSequence(gone);
      StepPlan plan;
      std::atomic<bool> cancelled = is_cancelled;
      for (auto* each : first ? std::vector{&neighbour, &s} : std::vector{&s, &neighbour}) {
        plan.entries.push_back(
            DeviceRunner::EntryOf(*each, static_cast<int64_t>(each->ids.size())));
      }
      PlanEntry& other = plan.entries[first ? 0 : 1];
      other.cancelled = &cancelled;
      other.first_logits_position = 100;  // none, so that the head's rows are as many
      std::vector<EntryOutcome> outcomes;
      const size_t own = first ? 1 : 0;
      runner.executor->Run(
          plan,
          [&](size_t entry, int64_t, std::span<float> row) {
            if (entry == own) s.logits.emplace_back(row.begin(), row.end());
          },
          &outcomes);
      CHECK(outcomes[1 - own] == (is_cancelled ? EntryOutcome::kCancelled : EntryOutcome::kDone));
      CHECK(outcomes[own] == EntryOutcome::kDone);
      REQUIRE(s.logits.size() == 90);
      kept.push_back(std::move(s.logits));
    }
    RequireSameBits(kept[1], kept[0]);
  }
}

TEST_CASE("an expanded chunk among sequences of other widths is within its own bound") {
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kUnified}) {
    ModelConfig config = ElasticGeometry(norm);
    config.kv_lora_rank = 104;  // rows that the library takes
    config.elastic->kv_lora_ranks = {104};
    const RandomModel model = MakeRandomModel(config, 41, DType::kBF16);
    const std::vector<uint32_t> ids = Tokens(130, 42);
    const std::vector<Width> widths = {{24, 104}, {7, 37}, {24, 64}};
    DeviceRunner runner(config, model.weights, Limits(2'000'000));
    std::vector<StepRunner::Sequence> sequences;
    for (const Width& width : widths) sequences.push_back(runner.NewSequence(ids, width));
    runner.Step({{&sequences[0], 1}, {&sequences[1], 100}, {&sequences[2], 100}});
    runner.Step({{&sequences[0], 129}, {&sequences[1], 1}, {&sequences[2], 30}});
    for (size_t i = 0; i < widths.size(); ++i) {
      CAPTURE(static_cast<int>(norm), i);
      const RandomModel sliced = Sliced(model, widths[i]);
      NaiveResult truth = NaiveForward(sliced.config, sliced.weights, ids, CacheFormat::kBf16);
      truth.logits.resize(sequences[i].logits.size());
      CheckWithin(truth, sequences[i].logits, config.num_layers);
    }
  }
}

}  // namespace latentd
