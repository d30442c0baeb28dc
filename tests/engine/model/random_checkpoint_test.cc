// Random weights: every tensor that a config implies, the same for the same seed, and fit to run.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cache/block_pool.h"
#include "engine/model/loader.h"
#include "engine/model/model_executor.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {
namespace {

constexpr uint64_t kPlenty = 1 << 24;

std::unique_ptr<const Model> Make(const nlohmann::json& config, uint64_t seed) {
  auto model = MakeRandomModel(config.dump(), seed, kPlenty);
  INFO(model.status().message());
  REQUIRE(model.ok());
  return *std::move(model);
}

}  // namespace

TEST_CASE("a random model has the parameters of a stored one") {
  TestModel unified = MakeLatentMla("unified");
  unified.config["qk_norm"] = "unified";  // nothing here to infer it from
  for (const TestModel& stored : {MakeLatentMla(), unified, MakeDeepseekV3(), MakeYoutu()}) {
    const TempFolder folder;
    stored.Write(folder);
    const auto loaded = LoadModel(folder.path());
    REQUIRE(loaded.ok());
    const auto random = Make(stored.config, 1);
    CHECK(random->weights.num_parameters == (*loaded)->weights.num_parameters);
    CHECK(random->weights.layers.size() == (*loaded)->weights.layers.size());
    CHECK(random->config.key_norm == (*loaded)->config.key_norm);
  }
}

TEST_CASE("the same seed gives the same weights, of a size that keeps activations") {
  const nlohmann::json config = MakeLatentMla("blockwise").config;
  const auto a = Make(config, 1), b = Make(config, 1), c = Make(config, 2);
  const WeightView &wa = a->weights.layers[1].o_proj, &wb = b->weights.layers[1].o_proj;
  const auto bytes = static_cast<size_t>(wa.rows * wa.cols) * sizeof(bf16);
  CHECK(std::memcmp(wa.data, wb.data, bytes) == 0);
  CHECK(std::memcmp(wa.data, c->weights.layers[1].o_proj.data, bytes) != 0);
  const double root = 1 / std::sqrt(static_cast<double>(wa.cols));
  int64_t negative = 0;
  for (int64_t i = 0; i < wa.rows * wa.cols; ++i) {
    const float value = ToFloat(static_cast<const bf16*>(wa.data)[i]);
    negative += value < 0 ? 1 : 0;
    REQUIRE(std::abs(value) <= 2 * root);
    REQUIRE(std::abs(value) >= root / 2);
  }
  CHECK(negative > wa.rows * wa.cols / 4);
  CHECK(negative < wa.rows * wa.cols * 3 / 4);
  for (const float value : a->weights.layers[0].k_content_norm) CHECK((value >= 0.5f && value < 1));
}

TEST_CASE("a random model runs to finite logits") {
  for (const TestModel& stored : {MakeLatentMla("blockwise"), MakeDeepseekV3(), MakeYoutu()}) {
    const auto model = Make(stored.config, 3);
    const ModelConfig& config = model->config;
    const BlockLayout layout = BlockLayout::Make(config.num_layers, config.kv_lora_rank,
                                                 config.qk_rope_head_dim, config.num_alphas());
    const auto pool = *BlockPool::Create(layout, 1);
    const Context context;
    ModelExecutor executor(config, model->weights, context, layout, pool->base(), 8);
    const std::vector<uint32_t> ids = {3, 1, 4, 1, 5}, table = {*pool->Allocate()};
    StepPlan plan;
    plan.entries.push_back({.token_ids = ids, .block_table = table});
    std::vector<EntryOutcome> outcomes;
    int64_t rows = 0;
    executor.Run(
        plan,
        [&](size_t, int64_t, std::span<float> logits) {
          ++rows;
          for (const float value : logits) REQUIRE(std::isfinite(value));
          CHECK(*std::max_element(logits.begin(), logits.end()) > 0);
        },
        &outcomes);
    CHECK(rows == 5);
  }
}

TEST_CASE("random weights stay within the memory given") {
  const nlohmann::json config = MakeLatentMla().config;
  const uint64_t bytes = Make(config, 1)->weights.num_bytes;
  CHECK(MakeRandomModel(config.dump(), 1, bytes).ok());
  const auto refused = MakeRandomModel(config.dump(), 1, bytes - 1);
  CHECK(absl::IsResourceExhausted(refused.status()));
  CHECK(absl::IsInvalidArgument(MakeRandomModel("{}", 1, bytes).status()));
}

}  // namespace latentd
