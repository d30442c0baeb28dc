#include "engine/model/config.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/model/loader.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {
namespace {

ModelConfig Parse(const nlohmann::json& json) {
  absl::StatusOr<ModelConfig> config = ParseModelConfig(json.dump());
  INFO(config.status().message());
  REQUIRE(config.ok());
  return *std::move(config);
}

}  // namespace

TEST_CASE("latent_mla: geometry and defaults", "[config]") {
  nlohmann::json json = MakeLatentMla().config;
  json["rms_norm_eps"] = 1e-5;
  const ModelConfig config = Parse(json);
  CHECK(config.family == "latent_mla");
  CHECK(config.hidden_size == 32);
  CHECK(config.num_layers == 2);
  CHECK(config.num_heads == 4);
  CHECK(config.num_kv_groups == 4);
  CHECK(config.full_width() == Width{12, 16});
  CHECK(config.qk_nope_head_dim == 6);
  CHECK(config.qk_rope_head_dim == 4);
  CHECK(config.v_head_dim == 8);
  CHECK(config.intermediate_size == 24);
  CHECK(config.vocab_size == 40);
  CHECK(config.max_context == 256);
  CHECK(config.rms_norm_eps == 1e-5f);
  CHECK(config.latent_norm_eps == 1e-5f);
  CHECK(config.qk_norm_eps == 1e-5f);
  CHECK(config.key_norm == KeyNorm::kNone);
  CHECK(config.qk_norm_before_rope);
  CHECK(config.num_alphas() == 0);
  CHECK(config.softmax_scale == Approx(1 / std::sqrt(10.0)));
  CHECK_FALSE(config.tie_word_embeddings);
  CHECK_FALSE(config.attention_bias);
  CHECK_FALSE(config.moe.has_value());
  CHECK_FALSE(config.elastic.has_value());
}

TEST_CASE("our own keys", "[config]") {
  nlohmann::json json = MakeLatentMla("blockwise").config;
  json.update({{"qk_norm", "blockwise"},
               {"qk_norm_eps", 1e-4},
               {"qk_norm_before_rope", false},
               {"latent_norm_eps", 1e-3},
               {"attention_bias", true},
               {"tie_word_embeddings", true}});
  const ModelConfig config = Parse(json);
  CHECK(config.num_kv_groups == 2);
  CHECK(config.key_norm == KeyNorm::kBlockwise);
  CHECK(config.num_alphas() == 2);
  CHECK(config.qk_norm_eps == 1e-4f);
  CHECK(config.latent_norm_eps == 1e-3f);
  CHECK_FALSE(config.qk_norm_before_rope);
  CHECK(config.attention_bias);
  CHECK(config.tie_word_embeddings);
}

TEST_CASE("the query may be projected directly, and nothing may rotate", "[config]") {
  nlohmann::json json = MakeLatentMla().config;
  json["q_lora_rank"] = nullptr;
  json["qk_rope_head_dim"] = 0;
  ModelConfig config = Parse(json);
  CHECK(config.full_width() == Width{0, 16});
  CHECK(config.rope.inv_freq.empty());
  CHECK(config.softmax_scale == Approx(1 / std::sqrt(6.0)));
  json.erase("q_lora_rank");
  CHECK(Parse(json).q_lora_rank == 0);
}

TEST_CASE("the DeepSeek lineage norms its latents with 1e-6", "[config]") {
  for (nlohmann::json json : {MakeDeepseekV3().config, MakeYoutu().config}) {
    json["rms_norm_eps"] = 1e-5;
    CHECK(Parse(json).rms_norm_eps == 1e-5f);
    CHECK(Parse(json).latent_norm_eps == 1e-6f);
    json["latent_norm_eps"] = 1e-5;
    CHECK(Parse(json).latent_norm_eps == 1e-5f);
  }
}

TEST_CASE("families differ in what an absent key means", "[config]") {
  CHECK_FALSE(Parse(MakeDeepseekV3().config).tie_word_embeddings);
  CHECK(Parse(MakeYoutu().config).tie_word_embeddings);
  nlohmann::json untied = MakeYoutu().config;
  untied["tie_word_embeddings"] = false;
  CHECK_FALSE(Parse(untied).tie_word_embeddings);
}

TEST_CASE("deepseek_v3 routing", "[config]") {
  const ModelConfig config = Parse(MakeDeepseekV3().config);
  REQUIRE(config.moe.has_value());
  CHECK(config.moe->expert_intermediate_size == 8);
  CHECK(config.moe->shared_intermediate_size == 16);
  CHECK(config.moe->num_dense_layers == 1);
  const RouterConfig& router = config.moe->router;
  CHECK(router.num_experts == 4);
  CHECK(router.top_k == 2);
  CHECK(router.num_groups == 2);
  CHECK(router.top_groups == 1);
  CHECK(router.score == RouterScore::kSigmoid);
  CHECK(router.group_score == GroupScore::kTop2Sum);
  CHECK(router.norm_top_k);
  CHECK(router.routed_scale == 2.5f);
  CHECK_FALSE(config.is_moe_layer(0));
  CHECK(config.is_moe_layer(1));
}

TEST_CASE("deepseek_v3 without groups, shared experts or experts", "[config]") {
  nlohmann::json json = MakeDeepseekV3().config;
  json.update({{"n_group", nullptr},
               {"topk_group", nullptr},
               {"n_shared_experts", nullptr},
               {"norm_topk_prob", false}});
  const ModelConfig config = Parse(json);
  CHECK(config.moe->router.num_groups == 1);
  CHECK(config.moe->router.top_groups == 1);
  CHECK_FALSE(config.moe->router.norm_top_k);
  CHECK(config.moe->shared_intermediate_size == 0);
  json["n_routed_experts"] = nullptr;
  CHECK_FALSE(Parse(json).moe.has_value());
  nlohmann::json dense = MakeDeepseekV3().config;
  dense["first_k_dense_replace"] = 2;
  CHECK_FALSE(Parse(dense).moe.has_value());
}

TEST_CASE("keys that only repeat what is so are accepted", "[config]") {
  nlohmann::json json = MakeDeepseekV3().config;
  json.update({{"moe_layer_freq", 1},
               {"scoring_func", "sigmoid"},
               {"topk_method", "noaux_tc"},
               {"mlp_layer_types", {"dense", "sparse"}},
               {"hidden_act", "silu"},
               {"head_dim", 4},
               {"num_key_value_heads", 4},
               {"use_qk_norm", true},
               {"sliding_window", nullptr},
               {"layer_types", {"full_attention", "full_attention"}},
               {"quantization_config", nullptr},
               {"architectures", {"DeepseekV3ForCausalLM"}},
               {"auto_map", {{"AutoConfig", "x.Y"}}}});
  CHECK(Parse(json).key_norm == KeyNorm::kNone);
}

TEST_CASE("elastic ranks", "[config]") {
  nlohmann::json json = MakeLatentMla().config;
  json["elastic"] = {
      {"q_lora_ranks", {2, 6, 12}}, {"kv_lora_ranks", {2, 16}}, {"mlp", "4*max(q,kv)"}};
  const ModelConfig config = Parse(json);
  REQUIRE(config.elastic.has_value());
  CHECK(config.elastic->q_lora_ranks == std::vector<int64_t>{2, 6, 12});
  CHECK(config.elastic->kv_lora_ranks == std::vector<int64_t>{2, 16});
  CHECK(config.elastic->mlp_follows);
  CHECK_FALSE(config.elastic->continuous);

  json["elastic"] = {{"continuous", true}};
  const ModelConfig bare = Parse(json);
  CHECK(bare.elastic->q_lora_ranks == std::vector<int64_t>{12});
  CHECK(bare.elastic->kv_lora_ranks == std::vector<int64_t>{16});
  CHECK(bare.elastic->continuous);
  CHECK_FALSE(bare.elastic->mlp_follows);

  json["q_lora_rank"] = nullptr;
  CHECK(Parse(json).elastic->q_lora_ranks.empty());
}

TEST_CASE("families are served in alphabetical order", "[config]") {
  const std::vector<std::string> families = ServedFamilies();
  CHECK(std::is_sorted(families.begin(), families.end()));
  CHECK(std::count(families.begin(), families.end(), "latent_mla") == 1);
}

}  // namespace latentd
