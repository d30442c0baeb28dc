// Public families that scale something: the query (Mistral 4), embeddings, branches and logits
// (MiniCPM3), latents (LongCat, whose layers are double besides).
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/model/config_parts.h"
#include "tests/engine/model/public_configs.h"

namespace latentd {
namespace {

using nlohmann::json;

ParsedConfig Parse(const json& config, int64_t served_context = 0) {
  absl::StatusOr<ParsedConfig> parsed = ParseConfig(config.dump(), served_context);
  INFO(parsed.status().message());
  REQUIRE(parsed.ok());
  return *std::move(parsed);
}

std::string FaultOf(json config, const json& changes) {
  config.update(changes);
  const absl::StatusOr<ParsedConfig> parsed = ParseConfig(config.dump(), 0);
  return parsed.ok() ? "accepted" : std::string(parsed.status().message());
}

}  // namespace

TEST_CASE("mistral4", "[families]") {
  const ModelConfig config = Parse(Mistral4Config()).model;
  CHECK(config.kv_lora_rank == 256);
  CHECK(config.rope.query_beta == 0.1);
  CHECK(config.rope.query_context == 8192);
  CHECK(config.rope.inv_freq.size() == 32);
  const double m = 0.1 * std::log(128.0) + 1;
  CHECK(config.softmax_scale == Approx(m * m / std::sqrt(128.0)));
  const RouterConfig& router = config.moe->router;
  CHECK(router.score == RouterScore::kSoftmax);
  CHECK(router.norm_top_k);
  CHECK(router.routed_scale == 1);
  CHECK(config.moe->num_dense_layers == 0);
  CHECK_FALSE(config.moe->has_selection_bias);
}

TEST_CASE("mistral4 may leave m² out of its scores", "[families]") {
  json config = Mistral4Config();
  config["rope_parameters"]["apply_yarn_scaling"] = false;
  CHECK(Parse(config).model.softmax_scale == Approx(1 / std::sqrt(128.0)));
  config["rope_parameters"]["partial_rotary_factor"] = 0.25;
  CHECK_THAT(FaultOf(config, json::object()), Catch::Contains("partial_rotary_factor"));
}

TEST_CASE("minicpm3", "[families]") {
  const ParsedConfig parsed = Parse(MiniCpm3Config());
  const ModelConfig& config = parsed.model;
  CHECK(config.v_head_dim == 64);  // d / H
  CHECK(config.tie_word_embeddings);
  CHECK_FALSE(config.rope.interleaved);
  CHECK(config.embedding_scale == 12);
  CHECK(config.residual_scale == Approx(1.4 / std::sqrt(62.0)));
  CHECK(parsed.logit_scale == Approx(256.0 / 2560));
  CHECK(config.latent_norm_eps == 1e-6f);
  CHECK(config.softmax_scale == Approx(1 / std::sqrt(96.0)));
  CHECK_FALSE(config.moe.has_value());
}

TEST_CASE("minicpm3: null scales nothing", "[families]") {
  json config = MiniCpm3Config();
  config.update({{"scale_emb", 1}, {"scale_depth", nullptr}, {"dim_model_base", nullptr}});
  const ParsedConfig parsed = Parse(config);
  CHECK(parsed.model.embedding_scale == 1);
  CHECK(parsed.model.residual_scale == 1);
  CHECK(parsed.logit_scale == 1);
}

TEST_CASE("longrope chooses its factors by the served context", "[families]") {
  json config = MiniCpm3Config();
  config["max_position_embeddings"] = 131072;
  const auto first = [&config](int64_t served) {
    return Parse(config, served).model.rope.inv_freq[1];
  };
  const double base = std::pow(10000.0, -2.0 / 32);
  CHECK(first(0) == Approx(base / 3));        // the model's own context: long
  CHECK(first(32768) == Approx(base / 1.5));  // as far as it was trained: short
  CHECK(first(32769) == Approx(base / 3));
  CHECK(first(1 << 20) == Approx(base / 3));
  // The magnitude belongs to the model, not to the choice: √(1 + ln 4 / ln 32768).
  const double magnitude = std::sqrt(1 + std::log(4.0) / std::log(32768.0));
  CHECK(Parse(config, 32768).model.rope.magnitude == Approx(magnitude));
  CHECK(Parse(config).model.rope.magnitude == Approx(magnitude));
  CHECK(Parse(MiniCpm3Config()).model.rope.magnitude == 1);
}

TEST_CASE("faults of longrope", "[families]") {
  const auto fault = [](const json& changes) {
    json scaling = MiniCpm3Config()["rope_scaling"];
    scaling.update(changes);
    return FaultOf(MiniCpm3Config(), {{"rope_scaling", scaling}});
  };
  using Catch::Contains;
  CHECK_THAT(fault({{"long_factor", {1.0, 2.0}}}), Contains("long_factor must be a list of 16"));
  CHECK_THAT(fault({{"short_factor", nullptr}}), Contains("short_factor must be a list of 16"));
  CHECK_THAT(fault({{"long_factor", json(16, 0.0)}}), Contains("long_factor must be a list"));
  CHECK_THAT(fault({{"long_factor", json(16, "1")}}), Contains("long_factor must be a list"));
  CHECK_THAT(fault({{"original_max_position_embeddings", nullptr}}), Contains("is missing"));
  CHECK_THAT(fault({{"type", "linear"}}), Contains("(default, yarn, longrope)"));
}

TEST_CASE("longcat_flash", "[families]") {
  const ParsedConfig parsed = Parse(LongcatFlashConfig());
  const ModelConfig& config = parsed.model;
  CHECK(config.num_layers == 56);  // of attention and cache
  CHECK(config.intermediate_size == 12288);
  CHECK(parsed.q_latent_scale == Approx(2));
  CHECK(parsed.kv_latent_scale == Approx(std::sqrt(12.0)));
  const MoeConfig& moe = *config.moe;
  CHECK(moe.router.num_experts == 768);
  CHECK(moe.num_identity_experts == 256);
  CHECK(moe.num_weighted() == 512);
  CHECK(moe.router.top_k == 12);
  CHECK(moe.router.num_groups == 1);
  CHECK(moe.router.score == RouterScore::kSoftmax);
  CHECK(moe.has_selection_bias);
  CHECK_FALSE(moe.router.norm_top_k);
  CHECK(moe.router.routed_scale == 6);
  CHECK(moe.expert_intermediate_size == 2048);
  CHECK(moe.shared_intermediate_size == 0);
  CHECK(moe.is_shortcut);
  CHECK(config.starts_shortcut(0));
  CHECK(config.ends_shortcut(1));
  CHECK_FALSE(config.starts_shortcut(1));
  CHECK_FALSE(config.is_moe_layer(3));
}

TEST_CASE("longcat_flash: latents are scaled unless it says otherwise", "[families]") {
  json config = LongcatFlashConfig();
  config.erase("mla_scale_q_lora");
  config["mla_scale_kv_lora"] = false;
  CHECK(Parse(config).q_latent_scale == Approx(2));
  CHECK(Parse(config).kv_latent_scale == 1);
  CHECK_THAT(FaultOf(config, {{"zero_expert_type", "drop"}}), Catch::Contains("zero_expert_type"));
  CHECK_THAT(FaultOf(config, {{"router_bias", true}}), Catch::Contains("router_bias"));
  CHECK_THAT(FaultOf(config, {{"num_layers", nullptr}}), Catch::Contains("num_layers is missing"));
  CHECK_THAT(FaultOf(config, {{"moe_topk", 769}}), Catch::Contains("moe_topk"));
}

}  // namespace latentd
