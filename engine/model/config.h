// What a model folder says, after its family's key mapping: one description for every family.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/mla_attention.h"
#include "kernels/moe_router.h"

namespace latentd {

// Rotary embedding with every scaling rule already applied.
struct RopeConfig {
  std::vector<double> inv_freq;  // [d_r / 2], YaRN interpolation included
  float magnitude = 1;           // multiplies cos and sin
  bool interleaved = true;       // adjacent pairs rotate; otherwise halves
  // The whole query is multiplied by 1 + query_beta · ln(1 + ⌊position / query_context⌋).
  double query_beta = 0;
  int64_t query_context = 1;        // tokens
  std::string scaling = "default";  // the rule's name, for people
};

struct MoeConfig {
  RouterConfig router;
  int64_t expert_intermediate_size = 0;
  int64_t shared_intermediate_size = 0;  // all shared experts together; 0: none
  int64_t num_dense_layers = 0;          // leading layers with an ordinary MLP
  bool has_selection_bias = true;
  int64_t num_identity_experts = 0;  // the last of router.num_experts; they have no weights
  // Experts stand beside the dense MLP of every even layer, and their sum joins the residual stream
  // at the end of the odd layer after it (LongCat). No layer has experts in place of its MLP.
  bool is_shortcut = false;

  int64_t num_weighted() const { return router.num_experts - num_identity_experts; }
};

// Nested widths (latent-attention.md section 4).
struct ElasticConfig {
  std::vector<int64_t> q_lora_ranks;  // ascending; the last is the full rank
  std::vector<int64_t> kv_lora_ranks;
  bool continuous = false;   // every rank from 1 to full may be asked for
  bool mlp_follows = false;  // MLP units = min(intermediate_size, 4·max(w_q, w_kv))
};

// Whether a compression may run at `rank`: at its full rank, a listed one, or any from 1 up where
// ranks are continuous. The rule of one half of a width; a model without `elastic` lists nothing.
bool AllowsRank(int64_t rank, int64_t full, const std::vector<int64_t>& listed, bool continuous);

// Ranks a sequence runs at.
struct Width {
  int64_t q = 0;
  int64_t kv = 0;
  friend bool operator==(const Width&, const Width&) = default;
};

// Symbols are those of latent-attention.md section 1. Immutable after loading.
struct ModelConfig {
  std::string family;             // model_type
  int64_t hidden_size = 0;        // d
  int64_t num_layers = 0;         // attentions: two for each layer of a LongCat config
  int64_t num_heads = 0;          // H
  int64_t num_kv_groups = 0;      // G, divides H
  int64_t q_lora_rank = 0;        // r_q; 0: the query is projected directly
  int64_t kv_lora_rank = 0;       // r
  int64_t qk_nope_head_dim = 0;   // d_n
  int64_t qk_rope_head_dim = 0;   // d_r, may be 0
  int64_t v_head_dim = 0;         // d_v
  int64_t intermediate_size = 0;  // dense MLP units
  int64_t vocab_size = 0;
  int64_t max_context = 0;  // max_position_embeddings, tokens
  float rms_norm_eps = 1e-6f;
  float latent_norm_eps = 1e-6f;  // q_a_layernorm and kv_a_layernorm; a family's setting
  KeyNorm key_norm = KeyNorm::kNone;
  float qk_norm_eps = 1e-6f;
  bool qk_norm_before_rope = true;
  float softmax_scale = 1;    // (d_n + d_r)^(−1/2) · m²
  float embedding_scale = 1;  // multiplies embeddings
  float residual_scale = 1;   // multiplies what a block adds to the residual stream
  RopeConfig rope;
  std::optional<MoeConfig> moe;
  std::optional<ElasticConfig> elastic;
  bool tie_word_embeddings = false;
  bool attention_bias = false;  // on q_a_proj, kv_a_proj_with_mqa and o_proj

  Width full_width() const { return {q_lora_rank, kv_lora_rank}; }
  bool Allows(const Width& width) const;       // both halves are, by AllowsRank
  int64_t MlpUnits(const Width& width) const;  // leading units of the dense MLP that it uses
  // Experts take the place of the MLP.
  bool is_moe_layer(int64_t layer) const {
    return moe && !moe->is_shortcut && layer >= moe->num_dense_layers;
  }
  bool starts_shortcut(int64_t layer) const { return moe && moe->is_shortcut && layer % 2 == 0; }
  bool ends_shortcut(int64_t layer) const { return moe && moe->is_shortcut && layer % 2 == 1; }
  int64_t num_alphas() const { return key_norm == KeyNorm::kNone ? 0 : num_kv_groups; }
};

}  // namespace latentd
