// Every fault of config.json is one sentence that names the key.
#include <catch2/catch.hpp>

#include "engine/model/loader.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {
namespace {

using nlohmann::json;

struct Case {
  json changes;                     // merged into a good config
  std::vector<std::string> wanted;  // parts of the message
};

std::string FaultOf(const std::string& text) {
  const absl::StatusOr<ModelConfig> config = ParseModelConfig(text);
  return config.ok() ? "accepted" : std::string(config.status().message());
}

void CheckAll(const json& good, const std::vector<Case>& cases) {
  REQUIRE(FaultOf(good.dump()) == "accepted");
  for (const Case& test : cases) {
    json config = good;
    config.update(test.changes);
    const std::string fault = FaultOf(config.dump());
    INFO(test.changes.dump() << " gives: " << fault);
    CHECK(fault.rfind("config.json: ", 0) == 0);
    CHECK(fault.find('\n') == std::string::npos);
    for (const std::string& wanted : test.wanted) CHECK_THAT(fault, Catch::Contains(wanted));
  }
}

}  // namespace

TEST_CASE("a config that is not an object of known keys", "[config]") {
  using Catch::Contains;
  CHECK_THAT(FaultOf(""), Contains("config.json: not valid JSON"));
  CHECK_THAT(FaultOf("[]"), Contains("config.json: must be a JSON object"));
  CHECK_THAT(FaultOf("{}"), Contains("config.json: model_type is missing"));
  CHECK_THAT(FaultOf(R"({"model_type": 3})"), Contains("config.json: model_type must be a string"));
  CHECK_THAT(FaultOf(R"({"model_type": "llama\n"})"), Contains("'llama\\n' is not served") &&
                                                          Contains("deepseek_v3, ") &&
                                                          Contains("latent_mla"));
  CHECK_THAT(FaultOf(R"({"model_type": "youtu", "rms_norm_eps": NaN})"),
             Contains("'rms_norm_eps'"));
  CHECK_THAT(FaultOf(R"({"model_type": "youtu", "model_type": "youtu"})"),
             Contains("'model_type' is given twice"));
}

TEST_CASE("every key of the geometry is required", "[config]") {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "kv_lora_rank", "qk_nope_head_dim",
                          "qk_rope_head_dim", "v_head_dim", "max_position_embeddings"}) {
    json config = MakeLatentMla().config;
    config.erase(key);
    CHECK_THAT(FaultOf(config.dump()), Catch::Contains(std::string(key) + " is missing"));
    for (const json& wrong : {json(-1), json(1.5), json(32.0), json("32"), json(true), json({1}),
                              json(1e300), json(uint64_t{1} << 63), json(int64_t{1} << 40)}) {
      config[key] = wrong;
      const std::string fault = FaultOf(config.dump());
      INFO(key << " = " << wrong.dump() << " gives: " << fault);
      CHECK_THAT(fault, Catch::StartsWith("config.json: " + std::string(key) + " must be"));
    }
  }
}

TEST_CASE("faults of a dense config", "[config]") {
  CheckAll(MakeLatentMla().config,
           {
               {{{"hidden_size", 0}}, {"hidden_size must be a whole number from 1", "not 0"}},
               {{{"num_kv_groups", 3}}, {"num_kv_groups 3 does not divide num_attention_heads 4"}},
               {{{"num_kv_groups", 8}}, {"num_kv_groups", "not 8"}},
               {{{"qk_rope_head_dim", 3}}, {"qk_rope_head_dim must be even"}},
               {{{"q_lora_rank", 0}}, {"q_lora_rank"}},
               {{{"rms_norm_eps", 0}}, {"rms_norm_eps must be a number"}},
               {{{"rms_norm_eps", "1e-6"}}, {"rms_norm_eps must be a number"}},
               {{{"rms_norm_eps", -1e-6}}, {"rms_norm_eps"}},
               {{{"latent_norm_eps", 3}}, {"latent_norm_eps"}},
               {{{"qk_norm_eps", 3}}, {"qk_norm_eps"}},
               {{{"qk_norm", "layer"}}, {"qk_norm must be", "layer"}},
               {{{"qk_norm", true}}, {"qk_norm must be a string"}},
               {{{"qk_norm_before_rope", 1}}, {"qk_norm_before_rope must be true or false"}},
               {{{"tie_word_embeddings", "no"}}, {"tie_word_embeddings must be true or false"}},
               {{{"hidden_act", "gelu"}}, {"hidden_act 'gelu' is not supported"}},
               {{{"mla_scale_q_lora", true}, {"q_lora_rank", nullptr}}, {"mla_scale_q_lora"}},
               {{{"n_routed_experts", 4}}, {"n_routed_experts", "latent_mla"}},
               {{{"eos_token_id", 40}}, {"eos_token_id", "from 0 to 39", "not 40"}},
               {{{"eos_token_id", {1, 99}}}, {"eos_token_id", "99"}},
               {{{"bos_token_id", -1}}, {"bos_token_id", "-1"}},
               {{{"bos_token_id", "<s>"}}, {"bos_token_id", "<s>"}},
           });
}

TEST_CASE("features that nothing here computes are refused by name", "[config]") {
  CheckAll(
      MakeLatentMla().config,
      {
          {{{"sliding_window", 4096}}, {"sliding_window is not supported"}},
          {{{"use_sliding_window", true}}, {"use_sliding_window is not supported"}},
          {{{"index_topk", 2048}}, {"index_topk is not supported: sparse attention", "DSA"}},
          {{{"index_n_heads", 64}}, {"index_n_heads is not supported"}},
          {{{"mlp_bias", true}}, {"mlp_bias is not supported"}},
          {{{"layer_types", {"full_attention", "sliding_attention"}}}, {"layer_types", "layer 1"}},
          {{{"layer_types", {"full_attention"}}}, {"layer_types", "list of 2"}},
          {{{"mlp_layer_types", {"dense", "sparse"}}}, {"mlp_layer_types", "layer 1"}},
      });
}

TEST_CASE("faults of rope settings", "[config]") {
  const auto yarn = [](json changes) {
    json scaling = {{"rope_type", "yarn"}, {"factor", 4}};
    scaling.update(changes);
    return json{{"rope_parameters", scaling}};
  };
  CheckAll(MakeDeepseekV3().config,
           {
               {{{"rope_theta", 0}}, {"rope_theta must be a number"}},
               {{{"rope_theta", 1}}, {"rope_theta must be a number"}},
               {{{"rope_interleave", "yes"}}, {"rope_interleave"}},
               {{{"rope_scaling", "yarn"}}, {"rope_scaling must be an object"}},
               {{{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}},
                {"rope_scaling.type 'linear' is not supported"}},
               {{{"rope_parameters", {{"rope_type", "longrope"}}}},
                {"rope_parameters.rope_type 'longrope' is not supported"}},
               {{{"rope_parameters", {{"rope_type", "default"}, {"factor", 2}}}},
                {"rope_parameters.factor is not supported"}},
               {yarn({{"factor", 0.5}}), {"rope_parameters.factor must be a number from 1"}},
               {yarn({{"factor", "4"}}), {"rope_parameters.factor"}},
               {yarn({{"beta_fast", 0}}), {"rope_parameters.beta_fast"}},
               {yarn({{"beta_slow", -1}}), {"rope_parameters.beta_slow"}},
               {yarn({{"mscale", -1}}), {"rope_parameters.mscale"}},
               {yarn({{"mscale_all_dim", 1e9}}), {"rope_parameters.mscale_all_dim"}},
               {yarn({{"attention_factor", 0}}), {"rope_parameters.attention_factor"}},
               {yarn({{"original_max_position_embeddings", 1.5}}),
                {"rope_parameters.original_max_position_embeddings"}},
               {yarn({{"truncate", 1}}), {"rope_parameters.truncate"}},
               {yarn({{"rope_theta", 0}}), {"rope_parameters.rope_theta"}},
               {yarn({{"llama_4_scaling_beta", 0.1}}), {"rope_parameters.llama_4_scaling_beta"}},
               {{{"rope_parameters", {{"rope_type", "yarn"}, {"factor", 4}}},
                 {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 8}}}},
                {"rope_scaling contradicts rope_parameters"}},
           });
}

TEST_CASE("faults of expert settings", "[config]") {
  CheckAll(
      MakeDeepseekV3().config,
      {
          {{{"n_routed_experts", -1}}, {"n_routed_experts"}},
          {{{"n_group", 3}}, {"n_group 3 does not divide n_routed_experts 4"}},
          {{{"n_group", 4}}, {"n_group 4 leaves fewer than two"}},
          {{{"topk_group", 3}}, {"topk_group"}},
          {{{"topk_group", nullptr}}, {"topk_group 4 is more than n_group 2"}},
          {{{"num_experts_per_tok", 3}}, {"num_experts_per_tok 3 is more than the 2 experts"}},
          {{{"num_experts_per_tok", 5}}, {"num_experts_per_tok", "from 1 to 4"}},
          {{{"moe_intermediate_size", 0}}, {"moe_intermediate_size"}},
          {{{"n_shared_experts", -1}}, {"n_shared_experts"}},
          {{{"routed_scaling_factor", 0}}, {"routed_scaling_factor"}},
          {{{"norm_topk_prob", 1}}, {"norm_topk_prob"}},
          {{{"scoring_func", "softmax"}}, {"scoring_func 'softmax' is not supported"}},
          {{{"topk_method", "greedy"}}, {"topk_method 'greedy' is not supported"}},
          {{{"moe_layer_freq", 2}}, {"moe_layer_freq"}},
          {{{"mlp_layer_types", {"sparse", "sparse"}}}, {"mlp_layer_types", "layer 0", "dense"}},
          {{{"first_k_dense_replace", nullptr}}, {"first_k_dense_replace is missing"}},
      });
}

TEST_CASE("faults of elastic ranks", "[config]") {
  const auto elastic = [](json value) { return json{{"elastic", std::move(value)}}; };
  CheckAll(
      MakeLatentMla().config,
      {
          {elastic(true), {"elastic must be an object"}},
          {elastic({{"widths", {1}}}), {"elastic.widths is not supported"}},
          {elastic({{"q_lora_ranks", {6, 2, 12}}}), {"elastic.q_lora_ranks must ascend", "2", "6"}},
          {elastic({{"q_lora_ranks", {12, 12}}}), {"elastic.q_lora_ranks must ascend"}},
          {elastic({{"q_lora_ranks", {6}}}), {"elastic.q_lora_ranks must end with q_lora_rank 12"}},
          {elastic({{"q_lora_ranks", json::array()}}), {"elastic.q_lora_ranks must end"}},
          {elastic({{"q_lora_ranks", {13}}}), {"elastic.q_lora_ranks", "13"}},
          {elastic({{"kv_lora_ranks", {0, 16}}}), {"elastic.kv_lora_ranks", "from 1 to 16"}},
          {elastic({{"kv_lora_ranks", 16}}), {"elastic.kv_lora_ranks must be a list"}},
          {elastic({{"kv_lora_ranks", {8.0, 16}}}), {"elastic.kv_lora_ranks", "8.0"}},
          {elastic({{"mlp", "2*q"}}), {"elastic.mlp must be"}},
          {elastic({{"continuous", "yes"}}), {"elastic.continuous"}},
      });
  json direct = MakeLatentMla().config;
  direct["q_lora_rank"] = nullptr;
  CheckAll(direct, {{elastic({{"q_lora_ranks", {4}}}), {"elastic.q_lora_ranks needs"}}});
}

TEST_CASE("absurd sizes are refused by arithmetic, not by trying", "[config]") {
  const int64_t huge = int64_t{1} << 31;
  CheckAll(
      MakeDeepseekV3().config,
      {
          {{{"hidden_size", huge}, {"vocab_size", huge}}, {"vocab_size", "absurd"}},
          {{{"hidden_size", huge}, {"num_hidden_layers", 65536}, {"intermediate_size", huge}},
           {"absurd"}},
          {{{"num_attention_heads", 65536},
            {"qk_nope_head_dim", 65536},
            {"v_head_dim", 65536},
            {"hidden_size", huge}},
           {"num_attention_heads", "absurd"}},
          {{{"q_lora_rank", huge}, {"num_attention_heads", 65536}, {"qk_nope_head_dim", 65536}},
           {"q_lora_rank", "absurd"}},
          {{{"kv_lora_rank", huge}, {"num_attention_heads", 65536}, {"v_head_dim", 65536}},
           {"kv_lora_rank", "absurd"}},
          {{{"n_routed_experts", 65536}, {"moe_intermediate_size", huge}, {"hidden_size", 1024}},
           {"moe_intermediate_size", "absurd"}},
      });
}

}  // namespace latentd
