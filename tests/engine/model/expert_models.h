// Geometries with experts, each with another part of what families ask for.
#pragma once

#include <vector>

#include "tests/engine/model/model_runner.h"

namespace latentd {

inline std::vector<ModelConfig> ExpertGeometries() {
  ModelConfig deepseek = Geometry();  // groups, sigmoid scores, a dense layer first, shared experts
  deepseek.moe = MoeConfig{.router = {.num_experts = 8,
                                      .top_k = 3,
                                      .num_groups = 4,
                                      .top_groups = 2,
                                      .routed_scale = 1.5f},
                           .expert_intermediate_size = 20,
                           .shared_intermediate_size = 30,
                           .num_dense_layers = 1,
                           .has_selection_bias = false};
  ModelConfig plain = Geometry();  // softmax scores as they are, every layer
  plain.moe = MoeConfig{.router = {.num_experts = 5,
                                   .top_k = 2,
                                   .score = RouterScore::kSoftmax,
                                   .group_score = GroupScore::kMax,
                                   .norm_top_k = false},
                        .expert_intermediate_size = 70,
                        .has_selection_bias = false};
  ModelConfig longcat = Geometry();  // a branch beside two layers, and experts without weights
  longcat.moe = MoeConfig{.router = {.num_experts = 7,
                                     .top_k = 4,
                                     .score = RouterScore::kSoftmax,
                                     .norm_top_k = false,
                                     .routed_scale = 2},
                          .expert_intermediate_size = 24,
                          .has_selection_bias = false,
                          .num_identity_experts = 3,
                          .is_shortcut = true};
  return {deepseek, plain, longcat};
}

}  // namespace latentd
