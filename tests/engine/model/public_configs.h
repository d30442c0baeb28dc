// config.json of public checkpoints, without the keys that mean nothing to a server.
#pragma once

#include <nlohmann/json.hpp>

namespace latentd {

// V3's geometry, which its relatives share.
inline nlohmann::json DeepseekGeometry(const char* model_type) {
  return {
      {"model_type", model_type}, {"hidden_act", "silu"},        {"vocab_size", 129280},
      {"hidden_size", 7168},      {"intermediate_size", 18432},  {"moe_intermediate_size", 2048},
      {"num_hidden_layers", 61},  {"num_attention_heads", 128},  {"num_key_value_heads", 128},
      {"q_lora_rank", 1536},      {"kv_lora_rank", 512},         {"qk_nope_head_dim", 128},
      {"qk_rope_head_dim", 64},   {"v_head_dim", 128},           {"rms_norm_eps", 1e-6},
      {"attention_bias", false},  {"tie_word_embeddings", false}};
}

inline nlohmann::json DeepseekV2Config() {
  nlohmann::json config = DeepseekGeometry("deepseek_v2");
  config.update({{"vocab_size", 102400},
                 {"hidden_size", 5120},
                 {"intermediate_size", 12288},
                 {"moe_intermediate_size", 1536},
                 {"num_hidden_layers", 60},
                 {"max_position_embeddings", 163840},
                 {"n_routed_experts", 160},
                 {"n_shared_experts", 2},
                 {"num_experts_per_tok", 6},
                 {"n_group", 8},
                 {"topk_group", 3},
                 {"topk_method", "group_limited_greedy"},
                 {"scoring_func", "softmax"},
                 {"norm_topk_prob", false},
                 {"routed_scaling_factor", 16.0},
                 {"first_k_dense_replace", 1},
                 {"moe_layer_freq", 1},
                 {"rope_theta", 10000},
                 {"rope_scaling",
                  {{"type", "yarn"},
                   {"factor", 40},
                   {"original_max_position_embeddings", 4096},
                   {"beta_fast", 32},
                   {"beta_slow", 1},
                   {"mscale", 0.707},
                   {"mscale_all_dim", 0.707}}}});
  return config;
}

inline nlohmann::json KimiK2Config() {
  nlohmann::json config = DeepseekGeometry("kimi_k2");
  config.update({{"vocab_size", 163840},
                 {"num_attention_heads", 64},
                 {"num_key_value_heads", 64},
                 {"max_position_embeddings", 131072},
                 {"n_routed_experts", 384},
                 {"n_shared_experts", 1},
                 {"num_experts_per_tok", 8},
                 {"n_group", 1},
                 {"topk_group", 1},
                 {"topk_method", "noaux_tc"},
                 {"scoring_func", "sigmoid"},
                 {"norm_topk_prob", true},
                 {"routed_scaling_factor", 2.827},
                 {"first_k_dense_replace", 1},
                 {"moe_layer_freq", 1},
                 {"num_nextn_predict_layers", 0},
                 {"rope_theta", 50000.0},
                 {"rope_scaling",
                  {{"type", "yarn"},
                   {"factor", 32.0},
                   {"original_max_position_embeddings", 4096},
                   {"beta_fast", 1.0},
                   {"beta_slow", 1.0},
                   {"mscale", 1.0},
                   {"mscale_all_dim", 1.0}}}});
  return config;
}

inline nlohmann::json Glm4MoeLiteConfig() {
  nlohmann::json config = DeepseekGeometry("glm4_moe_lite");
  config.update({{"vocab_size", 154880},
                 {"hidden_size", 2048},
                 {"intermediate_size", 10240},
                 {"moe_intermediate_size", 1536},
                 {"num_hidden_layers", 47},
                 {"num_attention_heads", 20},
                 {"num_key_value_heads", 20},
                 {"q_lora_rank", 768},
                 {"qk_nope_head_dim", 192},
                 {"v_head_dim", 256},
                 {"max_position_embeddings", 202752},
                 {"rms_norm_eps", 1e-5},
                 {"n_routed_experts", 64},
                 {"n_shared_experts", 1},
                 {"num_experts_per_tok", 4},
                 {"n_group", 1},
                 {"topk_group", 1},
                 {"topk_method", "noaux_tc"},
                 {"norm_topk_prob", true},
                 {"routed_scaling_factor", 1.8},
                 {"first_k_dense_replace", 1},
                 {"num_nextn_predict_layers", 1},
                 {"partial_rotary_factor", 1.0},
                 {"rope_scaling", nullptr},
                 {"rope_theta", 1000000}});
  return config;
}

inline nlohmann::json Mistral4Config() {
  nlohmann::json config = DeepseekGeometry("mistral4");
  config.update({{"vocab_size", 131072},
                 {"hidden_size", 4096},
                 {"intermediate_size", 12288},
                 {"num_hidden_layers", 36},
                 {"num_attention_heads", 32},
                 {"num_key_value_heads", 32},
                 {"q_lora_rank", 1024},
                 {"kv_lora_rank", 256},
                 {"qk_nope_head_dim", 64},
                 {"max_position_embeddings", 1048576},
                 {"n_routed_experts", 128},
                 {"n_shared_experts", 1},
                 {"num_experts_per_tok", 4},
                 {"n_group", 1},
                 {"topk_group", 1},
                 {"norm_topk_prob", true},
                 {"routed_scaling_factor", 1.0},
                 {"first_k_dense_replace", 0},
                 {"rope_parameters",
                  {{"type", "yarn"},
                   {"rope_theta", 10000.0},
                   {"factor", 128.0},
                   {"original_max_position_embeddings", 8192},
                   {"max_position_embeddings", 1048576},
                   {"beta_fast", 32.0},
                   {"beta_slow", 1.0},
                   {"mscale", 1.0},
                   {"mscale_all_dim", 1.0},
                   {"llama_4_scaling_beta", 0.1},
                   {"partial_rotary_factor", 0.5}}}});
  return config;
}

// The rotary factors are not the released ones.
inline nlohmann::json MiniCpm3Config() {
  return {{"model_type", "minicpm3"},
          {"vocab_size", 73448},
          {"hidden_size", 2560},
          {"intermediate_size", 6400},
          {"num_hidden_layers", 62},
          {"num_attention_heads", 40},
          {"q_lora_rank", 768},
          {"kv_lora_rank", 256},
          {"qk_nope_head_dim", 64},
          {"qk_rope_head_dim", 32},
          {"max_position_embeddings", 32768},
          {"rms_norm_eps", 1e-5},
          {"scale_emb", 12},
          {"scale_depth", 1.4},
          {"dim_model_base", 256},
          {"rope_scaling",
           {{"type", "longrope"},
            {"short_factor", std::vector<double>(16, 1.5)},
            {"long_factor", std::vector<double>(16, 3.0)},
            {"original_max_position_embeddings", 32768}}}};
}

inline nlohmann::json LongcatFlashConfig() {
  return {{"model_type", "longcat_flash"},
          {"vocab_size", 131072},
          {"hidden_size", 6144},
          {"ffn_hidden_size", 12288},
          {"expert_ffn_hidden_size", 2048},
          {"num_layers", 28},
          {"num_attention_heads", 64},
          {"q_lora_rank", 1536},
          {"kv_lora_rank", 512},
          {"qk_nope_head_dim", 128},
          {"qk_rope_head_dim", 64},
          {"v_head_dim", 128},
          {"head_dim", 64},
          {"max_position_embeddings", 131072},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000000.0},
          {"n_routed_experts", 512},
          {"zero_expert_num", 256},
          {"zero_expert_type", "identity"},
          {"moe_topk", 12},
          {"routed_scaling_factor", 6.0},
          {"router_bias", false},
          {"mla_scale_q_lora", true},
          {"mla_scale_kv_lora", true},
          {"attention_method", "MLA"}};
}

}  // namespace latentd
