// The model families served, as rows of data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/moe_router.h"

namespace latentd {

// How a family routes tokens to experts, and what an absent key of its config means.
struct RoutingFamily {
  RouterScore score = RouterScore::kSigmoid;
  GroupScore group_score = GroupScore::kTop2Sum;
  bool has_selection_bias = true;  // e_score_correction_bias is among the tensors
  // topk_method says whether groups compete: "greedy" or "group_limited_greedy" instead of
  // "noaux_tc" (deepseek_v2). There, weights are either normalised or scaled, never both.
  bool has_greedy_methods = false;
  bool has_identity_experts = false;  // zero_expert_num more, which give back what they get
  bool norm_top_k = true;             // norm_topk_prob
  double routed_scale = 1;            // routed_scaling_factor
  int64_t num_groups = 1;             // n_group
  int64_t top_groups = 1;             // topk_group, when there are groups
  int64_t num_shared = 1;             // n_shared_experts
  int64_t num_dense_layers = -1;      // first_k_dense_replace; −1: the key is required
};

// How a family rotates.
struct RopeFamily {
  bool interleaved = true;  // rope_interleave
  double theta = 10000;     // rope_theta
  bool has_longrope = false;
  bool has_query_factor = false;       // llama_4_scaling_beta
  bool partial_rotary_of_key = false;  // partial_rotary_factor is d_r / (d_n + d_r), not 1
};

// MiniCPM's scales: embeddings by scale_emb, every residual branch by scale_depth / √layers, the
// last hidden state by dim_model_base / d. Null for a key means that it scales nothing.
struct ScaleFamily {
  double embedding = 1;
  double depth = 1;
  int64_t base_size = 1;
};

// What config.json calls what differs between families.
struct KeyNames {
  const char* num_layers = "num_hidden_layers";
  const char* intermediate_size = "intermediate_size";
  const char* expert_intermediate_size = "moe_intermediate_size";
  const char* top_k = "num_experts_per_tok";
};

// What a family takes for granted: the values its checkpoints mean when config.json leaves a key
// out. Geometry has no defaults; it is required of every family.
struct Family {
  std::string_view model_type;
  bool tie_word_embeddings = false;
  // ε of q_a_layernorm and kv_a_layernorm; empty: rms_norm_eps. The reference code of the DeepSeek
  // lineage builds these norms with 1e-6 whatever rms_norm_eps says.
  std::optional<double> latent_norm_eps = std::nullopt;
  std::optional<RoutingFamily> routing = std::nullopt;  // present: reads the n_routed_experts keys
  RopeFamily rope = {};
  KeyNames keys = {};
  std::optional<ScaleFamily> scales = std::nullopt;
  bool value_dim_from_hidden = false;  // v_head_dim, when absent, is d / H
  bool latent_scales = false;          // mla_scale_q_lora and mla_scale_kv_lora, when absent
  // A layer of the config is two of ours, each with attention and a dense MLP; experts run beside
  // the first one's MLP, and their sum joins after the second's (LongCat's shortcut).
  bool has_double_layers = false;
  std::string_view mtp_prefix = {};  // tensors so named are prediction layers, beside those after
                                     // the last layer
  int num_mtp_layers = 0;            // num_nextn_predict_layers, when absent
};

// Null for a model_type that is not served.
const Family* FindFamily(std::string_view model_type);

// Alphabetical.
std::vector<std::string> FamilyNames();

// Why a public model_type that is known is not served, as the end of a sentence ("… is not served:
// ‹reason›"); empty for any other.
std::string_view WhyNotServed(std::string_view model_type);

}  // namespace latentd
