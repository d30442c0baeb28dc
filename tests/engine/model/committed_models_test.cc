// The checkpoints in this repository load as what they are.
#include <catch2/catch.hpp>

#include "engine/model/loader.h"

namespace latentd {
namespace {

std::unique_ptr<const Model> Load(const char* dir) {
  auto model = LoadModel(dir);
  INFO(model.status().message());
  REQUIRE(model.ok());
  return *std::move(model);
}

}  // namespace

TEST_CASE("the demo model loads", "[loader]") {
  const auto model = Load("models/demo");
  CHECK(model->config.family == "latent_mla");
  CHECK(model->config.key_norm == KeyNorm::kBlockwise);
  CHECK(model->config.num_kv_groups == 4);
  CHECK(model->config.elastic->q_lora_ranks.back() == model->config.q_lora_rank);
  CHECK(model->config.elastic->mlp_follows);
  CHECK_FALSE(model->generation.eos_token_ids.empty());
}

TEST_CASE("tiny deepseek_v3 checkpoints load", "[loader]") {
  const auto single = Load("tests/golden/tiny-deepseek-v3");
  CHECK(single->config.moe->router.num_groups == 4);
  CHECK(single->config.rope.magnitude > 1);
  CHECK(single->weights.layers[1].experts.size() == 16);
  CHECK(single->notes.empty());
  const auto fused = Load("tests/golden/tiny-deepseek-v3-fused");
  CHECK(fused->config.moe->router.num_groups == 1);
  CHECK(fused->config.q_lora_rank == 0);
  CHECK(fused->weights.layers[1].experts.size() == 8);
  CHECK(fused->weights.layers[1].experts[7].down.rows == 96);
}

TEST_CASE("tiny quantised checkpoints load", "[loader]") {
  for (const auto& [dir, dtype] : {std::pair{"tests/golden/tiny-deepseek-v3-fp8", DType::kE4M3},
                                   {"tests/golden/tiny-deepseek-v3-int4", DType::kInt4}}) {
    const auto model = Load(dir);
    const LayerWeights& layer = model->weights.layers[1];
    CHECK(layer.o_proj.dtype == dtype);
    CHECK(layer.experts[7].down.dtype == dtype);
    CHECK(layer.kv_b_proj.dtype == DType::kF32);  // scales are no powers of two
    CHECK(model->weights.embedding.dtype == DType::kBF16);
  }
}

TEST_CASE("the tiny youtu checkpoint loads", "[loader]") {
  const auto model = Load("tests/golden/tiny-youtu");
  CHECK(model->config.latent_norm_eps == 1e-6f);
  CHECK(model->weights.lm_head.data == model->weights.embedding.data);
  CHECK(model->generation.eos_token_ids == std::vector<uint32_t>{1});
}

TEST_CASE("prediction layers are set aside with a note", "[loader]") {
  for (const char* dir : {"tests/golden/tiny-glm4-moe-lite", "tests/golden/tiny-longcat-flash"}) {
    const auto model = Load(dir);
    REQUIRE(model->notes.size() == 1);
    CHECK_THAT(model->notes[0], Catch::Contains("multi-token prediction layers are not used"));
  }
}

TEST_CASE("the tiny longcat_flash checkpoint loads", "[loader]") {
  const auto model = Load("tests/golden/tiny-longcat-flash");
  REQUIRE(model->weights.layers.size() == 4);
  CHECK(model->weights.layers[2].experts.size() == 9);
  CHECK(model->weights.layers[3].experts.empty());
  CHECK(model->weights.layers[3].mlp.gate.rows == 96);
  CHECK(model->weights.layers[2].router_bias.size() == 12);
}

}  // namespace latentd
