// The transformer of the CUDA back end, its kernels emulated: against the plain model in double
// precision, and bit equality over chunking, batching and launches.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>

#include "tests/engine/cuda/device_runner.h"
#include "tests/engine/model/compare_logits.h"
#include "tests/engine/model/model_runner.h"
#include "tests/engine/model/naive_model.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd {
namespace {

void CheckAgainstOracle(const ModelConfig& config, uint32_t seed, size_t num_tokens) {
  const RandomModel model = MakeRandomModel(config, seed);
  const std::vector<uint32_t> ids = Tokens(num_tokens, seed);
  const NaiveResult truth = NaiveForward(config, model.weights, ids, CacheFormat::kBf16);
  const Difference difference = Compare(truth, RunWholeOnDevice(model, ids), config.num_layers);
  INFO(difference.where);
  CHECK(difference.worst <= 1);
}

}  // namespace

TEST_CASE("every kind of layer on the device equals the plain model in double precision") {
  uint32_t seed = 1;
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (int64_t groups : {2, 6}) {
      for (int64_t rope_dim : {0, 8}) {
        // Either order of norm and rotation with either pairing, and with and without r_q.
        ModelConfig config = Geometry();
        config.key_norm = norm;
        config.num_kv_groups = groups;
        config.qk_rope_head_dim = rope_dim;
        config.qk_norm_before_rope = groups == 2;
        config.rope.interleaved = (groups == 2) == (norm != KeyNorm::kUnified);
        config.q_lora_rank = seed % 3 == 0 ? 0 : 24;
        config.rope.magnitude = 1.25f;
        if (rope_dim == 0) config.rope.inv_freq.clear();
        CAPTURE(static_cast<int>(norm), groups, rope_dim, seed);
        CheckAgainstOracle(config, seed++, 20);
      }
    }
  }
}

TEST_CASE("scaled queries, embeddings and branches on the device equal the plain model") {
  ModelConfig config = Geometry();
  config.embedding_scale = 3;
  config.residual_scale = 0.4f;
  config.rope.query_beta = 0.3;
  config.rope.query_context = 16;
  CheckAgainstOracle(config, 21, 70);  // two blocks
}

TEST_CASE("chunks, neighbours and launches change no bit on the device") {
  ModelConfig config = Geometry();
  config.key_norm = KeyNorm::kBlockwise;
  config.num_kv_groups = 3;
  config.rope.query_beta = 0.3;
  config.rope.query_context = 16;
  const std::vector<uint32_t> ids = Tokens(80, 8), other = Tokens(30, 9);
  for (const auto& [dtype, partial_bytes] : {std::pair{DType::kF32, int64_t{0}},  // the least
                                             std::pair{DType::kBF16, int64_t{1} << 20}}) {
    const RandomModel model = MakeRandomModel(config, 7, dtype);
    const auto expected = RunWholeOnDevice(model, ids);
    for (const int64_t chunk : {7, 63}) {
      CAPTURE(partial_bytes, chunk);
      DeviceRunner runner(config, model.weights, partial_bytes);
      auto s = runner.NewSequence(ids), neighbour = runner.NewSequence(other);
      while (s.computed < 80) {
        std::vector<std::pair<StepRunner::Sequence*, int64_t>> portions;
        if (neighbour.computed < 30) portions.push_back({&neighbour, 5});
        portions.push_back({&s, std::min(chunk, 80 - s.computed)});
        runner.Step(portions);
      }
      RequireSameBits(s.logits, expected);
    }
  }
}

TEST_CASE("a cancelled sequence leaves its neighbour on the device as it is") {
  const ModelConfig config = Geometry();
  const RandomModel model = MakeRandomModel(config, 11);
  const std::vector<uint32_t> ids = Tokens(12, 12);
  const auto expected = RunWholeOnDevice(model, ids);
  DeviceRunner runner(config, model.weights);
  auto gone = runner.NewSequence(Tokens(9, 13)), s = runner.NewSequence(ids);
  std::atomic<bool> cancelled = true;
  StepPlan plan;
  for (auto* sequence : {&gone, &s}) {
    plan.entries.push_back(
        StepRunner::EntryOf(*sequence, static_cast<int64_t>(sequence->ids.size())));
  }
  plan.entries[0].cancelled = &cancelled;
  std::vector<EntryOutcome> outcomes;
  const auto run = [&] {
    runner.executor->Run(
        plan,
        [&](size_t entry, int64_t, std::span<float> row) {
          CHECK(entry == 1);
          s.logits.emplace_back(row.begin(), row.end());
        },
        &outcomes);
  };
  run();
  RequireSameBits(s.logits, expected);
  CHECK(outcomes == std::vector<EntryOutcome>{EntryOutcome::kCancelled, EntryOutcome::kDone});
  CHECK(runner.executor->layers_done() == 2);
  plan.entries.pop_back();
  run();
  CHECK(outcomes == std::vector<EntryOutcome>{EntryOutcome::kCancelled});
  CHECK(runner.executor->layers_done() == 2);  // no layer runs for nobody
}

TEST_CASE("a step takes no device memory, and only wanted rows give logits") {
  const ModelConfig config = Geometry();
  const RandomModel model = MakeRandomModel(config, 14);
  const std::vector<uint32_t> ids = Tokens(90, 15);
  auto whole = RunWholeOnDevice(model, ids);
  whole.erase(whole.begin(), whole.begin() + 20);
  DeviceRunner runner(config, model.weights);
  auto s = runner.NewSequence(ids);
  const uint64_t allocations = cuda::EmulatedAllocations();
  StepPlan plan;
  plan.entries.push_back(StepRunner::EntryOf(s, 90));
  plan.entries[0].first_logits_position = 20;  // more rows than one tile of logits
  std::vector<EntryOutcome> outcomes;
  std::vector<int64_t> positions;
  runner.executor->Run(
      plan,
      [&](size_t, int64_t position, std::span<float> row) {
        positions.push_back(position);
        s.logits.emplace_back(row.begin(), row.end());
      },
      &outcomes);
  REQUIRE(positions.size() == 70);
  for (size_t i = 0; i < positions.size(); ++i) CHECK(positions[i] == 20 + static_cast<int64_t>(i));
  RequireSameBits(s.logits, whole);
  plan.entries[0].first_logits_position = 90;
  runner.executor->Run(
      plan, [](size_t, int64_t, std::span<float>) { FAIL(); }, &outcomes);
  CHECK(cuda::EmulatedAllocations() == allocations);
}

}  // namespace latentd
