// What public checkpoints call their tensors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/model/config_parts.h"

namespace latentd {

// Of one of our layers; prefixes end with a dot. interfaces.md and latent-attention.md section 7
// have the names that follow them.
struct LayerNames {
  std::string input_norm, post_attention_norm;  // whole names
  std::string attention, mlp;                   // prefixes; mlp: the dense one
  std::string router;                           // prefix of weight and e_score_correction_bias
  std::string router_weight;                    // whole name
  std::string experts, shared_expert;           // prefixes
};
LayerNames NamesOfLayer(const Family& family, int64_t layer);

// A tensor of a multi-token prediction layer: those follow the last layer, or have a prefix.
bool IsMtpTensor(std::string_view name, const ParsedConfig& config);

}  // namespace latentd
