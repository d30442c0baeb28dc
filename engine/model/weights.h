// A model's tensors: matrices are views into the mapped checkpoint, plain or quantised, or of
// copies in few bits; norm vectors are fp32 copies.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/core/tensor.h"

namespace latentd {

// Whether matrices are served as stored, or as copies made at load (kernels/quantise.h).
enum class WeightCopies : uint8_t { kNone, kInt8, kInt4 };

// "int8" or "int4"; "as-stored".
constexpr const char* Name(WeightCopies copies) {
  if (copies == WeightCopies::kNone) return "as-stored";
  return copies == WeightCopies::kInt8 ? "int8" : "int4";
}

struct MlpWeights {
  WeightView gate, up;  // [units, d]
  WeightView down;      // [d, units]

  // The first n units alone.
  MlpWeights Units(int64_t n) const { return {gate.Rows(0, n), up.Rows(0, n), down.Leading(n)}; }
};

// Names and shapes: interfaces.md ("Model keys of our own") and latent-attention.md section 7.
// An absent tensor is a null view or an empty vector.
struct LayerWeights {
  std::vector<float> input_norm, post_attention_norm;  // [d]

  WeightView q_proj;             // [H(d_n+d_r), d], only when there is no q_lora_rank
  WeightView q_a_proj;           // [r_q, d]
  std::vector<float> q_a_bias;   // [r_q], attention_bias only (as the two below)
  std::vector<float> q_a_norm;   // [r_q], any family scale folded in
  WeightView q_b_proj;           // [H(d_n+d_r), r_q]
  WeightView kv_a_proj;          // [r + d_r, d]
  std::vector<float> kv_a_bias;  // [r + d_r]
  std::vector<float> kv_a_norm;  // [r], any family scale folded in
  WeightView kv_b_proj;          // [G(d_n+d_v), r], per group K rows then V rows; never
                                 // quantised
  WeightView o_proj;             // [d, H·d_v]
  std::vector<float> o_bias;     // [d]

  // Key normalisation. Blockwise: content [d_n] and rope [d_r] each; unified: d_n + d_r, content
  // first, split here into the same two vectors.
  std::vector<float> q_content_norm, q_rope_norm, k_content_norm, k_rope_norm;

  MlpWeights mlp;                    // dense layers
  std::vector<float> router_weight;  // [E, d], fp32: routing is decided in full precision
  std::vector<float> router_bias;    // [E], e_score_correction_bias, or empty
  std::vector<MlpWeights> experts;   // [E]
  MlpWeights shared_expert;          // gate null when there is none
};

// Keeps the mapped files and the copies alive.
struct Weights {
  WeightView embedding;           // [V, d]; never quantised
  WeightView lm_head;             // [V, d]; the embedding, or a copy of it, when tied
  std::vector<float> final_norm;  // [d]
  std::vector<LayerWeights> layers;
  uint64_t num_parameters = 0;                     // tied embeddings count once
  uint64_t num_bytes = 0;                          // of the tensors in the files
  std::map<std::string, uint64_t> bytes_by_dtype;  // the same, by the dtype's name in the files
  WeightCopies format = WeightCopies::kNone;       // of matrices that were not quantised already
  std::string quantisation;  // how quantised matrices are stored, for people; empty: none are
  std::shared_ptr<const void> files, copies;
};

}  // namespace latentd
