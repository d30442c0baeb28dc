// The public families, each by its released config.json (as far as it matters here).
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/model/families.h"
#include "engine/model/loader.h"
#include "tests/engine/model/public_configs.h"

namespace latentd {
namespace {

using nlohmann::json;

ModelConfig Parse(const json& config) {
  absl::StatusOr<ModelConfig> parsed = ParseModelConfig(config.dump());
  INFO(parsed.status().message());
  REQUIRE(parsed.ok());
  return *std::move(parsed);
}

std::string FaultOf(json config, const json& changes) {
  config.update(changes);
  const absl::StatusOr<ModelConfig> parsed = ParseModelConfig(config.dump());
  return parsed.ok() ? "accepted" : std::string(parsed.status().message());
}

// s = (d_n + d_r)^(−1/2) · m², m = 0.1 · mscale_all_dim · ln(factor) + 1.
double YarnScale(double key_dim, double mscale_all_dim, double factor) {
  const double m = 0.1 * mscale_all_dim * std::log(factor) + 1;
  return m * m / std::sqrt(key_dim);
}

}  // namespace

TEST_CASE("deepseek_v2", "[families]") {
  const ModelConfig config = Parse(DeepseekV2Config());
  CHECK(config.full_width() == Width{1536, 512});
  CHECK(config.latent_norm_eps == 1e-6f);
  CHECK(config.rope.interleaved);
  CHECK(config.rope.magnitude == 1);
  CHECK(config.softmax_scale == Approx(YarnScale(192, 0.707, 40)));
  const RouterConfig& router = config.moe->router;
  CHECK(router.num_experts == 160);
  CHECK(router.top_k == 6);
  CHECK(router.num_groups == 8);
  CHECK(router.top_groups == 3);
  CHECK(router.score == RouterScore::kSoftmax);
  CHECK(router.group_score == GroupScore::kMax);
  CHECK_FALSE(router.norm_top_k);
  CHECK(router.routed_scale == 16);
  CHECK(config.moe->shared_intermediate_size == 2 * 1536);
  CHECK(config.moe->num_dense_layers == 1);
  CHECK_FALSE(config.moe->has_selection_bias);
}

TEST_CASE("deepseek_v2 without query rank and groups, as V2-Lite", "[families]") {
  json lite = DeepseekV2Config();
  lite.update({{"q_lora_rank", nullptr},
               {"topk_method", "greedy"},
               {"n_routed_experts", 64},
               {"n_group", 1},
               {"topk_group", 1},
               {"routed_scaling_factor", 1.0}});
  const ModelConfig config = Parse(lite);
  CHECK(config.q_lora_rank == 0);
  CHECK(config.moe->router.num_groups == 1);
  CHECK(config.moe->router.routed_scale == 1);
  // Greedy takes no account of groups, wherever they are named.
  lite["n_group"] = 8;
  lite["topk_group"] = 2;
  CHECK(Parse(lite).moe->router.num_groups == 1);
}

TEST_CASE("deepseek_v2 either normalises its weights or scales them", "[families]") {
  json normed = DeepseekV2Config();
  normed["norm_topk_prob"] = true;
  CHECK(Parse(normed).moe->router.norm_top_k);
  CHECK(Parse(normed).moe->router.routed_scale == 1);
  CHECK_THAT(FaultOf(normed, {{"topk_method", "noaux_tc"}}), Catch::Contains("topk_method"));
  CHECK_THAT(FaultOf(normed, {{"scoring_func", "sigmoid"}}), Catch::Contains("scoring_func"));
}

TEST_CASE("kimi_k2", "[families]") {
  const ModelConfig config = Parse(KimiK2Config());
  CHECK(config.num_heads == 64);
  CHECK(config.latent_norm_eps == 1e-6f);
  CHECK(config.softmax_scale == Approx(YarnScale(192, 1, 32)));
  CHECK(config.rope.magnitude == 1);
  const RouterConfig& router = config.moe->router;
  CHECK(router.num_experts == 384);
  CHECK(router.num_groups == 1);
  CHECK(router.score == RouterScore::kSigmoid);
  CHECK(router.norm_top_k);
  CHECK(router.routed_scale == 2.827f);
  CHECK(config.moe->has_selection_bias);
}

TEST_CASE("glm4_moe_lite", "[families]") {
  const ModelConfig config = Parse(Glm4MoeLiteConfig());
  CHECK(config.qk_nope_head_dim == 192);
  CHECK(config.v_head_dim == 256);
  CHECK(config.rms_norm_eps == 1e-5f);
  CHECK(config.latent_norm_eps == 1e-6f);
  CHECK(config.softmax_scale == Approx(1 / std::sqrt(256.0)));
  CHECK(config.moe->num_dense_layers == 1);
  CHECK(config.moe->router.routed_scale == 1.8f);
}

TEST_CASE("glm4_moe_lite as a newer transformers writes it", "[families]") {
  json config = Glm4MoeLiteConfig();
  config.erase("first_k_dense_replace");
  CHECK(Parse(config).moe->num_dense_layers == 1);
  json words = json::array({"dense", "dense", "dense"});
  while (words.size() < 47) words.push_back("sparse");
  config["mlp_layer_types"] = words;
  CHECK(Parse(config).moe->num_dense_layers == 3);
  words[4] = "dense";
  CHECK_THAT(FaultOf(config, {{"mlp_layer_types", words}}), Catch::Contains("layer 4"));
  CHECK_THAT(FaultOf(config, {{"partial_rotary_factor", 0.5}}),
             Catch::Contains("partial_rotary_factor other than 1"));
}

TEST_CASE("families that are known and not served are refused with the reason", "[families]") {
  const auto refusal = [](const char* model_type) {
    return FaultOf({{"model_type", model_type}}, json::object());
  };
  using Catch::Contains;
  CHECK_THAT(refusal("deepseek_v32"), Contains("'deepseek_v32' is not served: its DSA indexer"));
  CHECK_THAT(refusal("glm_moe_dsa"), Contains("DSA indexer"));
  CHECK_THAT(refusal("deepseek_v4"), Contains("not a latent"));
  CHECK_THAT(refusal("kimi_linear"), Contains("linear-attention layers"));
  CHECK_THAT(refusal("dots3_note"), Contains("sliding-window"));
  CHECK_THAT(refusal("llama"), Contains("'llama' is not served; this build serves"));
  for (const char* type : {"deepseek_v32", "deepseek_v4", "kimi_linear"}) {
    CHECK(refusal(type).find('\n') == std::string::npos);
    CHECK(FindFamily(type) == nullptr);
  }
}

}  // namespace latentd
