// Expert selection of the DeepSeek lineage.
#pragma once

#include <cstdint>

#include "kernels/core/context.h"
#include "kernels/core/tensor.h"

namespace latentd {

enum class RouterScore : uint8_t { kSoftmax, kSigmoid };
enum class GroupScore : uint8_t { kMax, kTop2Sum };

struct RouterConfig {
  int64_t num_experts = 0;
  int64_t top_k = 0;
  int64_t num_groups = 1;  // experts are split into equal runs; only top_groups of them compete
  int64_t top_groups = 1;
  RouterScore score = RouterScore::kSigmoid;
  GroupScore group_score = GroupScore::kTop2Sum;
  bool norm_top_k = true;  // weights divided by their sum (+1e-20)
  float routed_scale = 1;
};

// For each row of logits [T, E]: chosen expert ids in ascending order and their weights, [T, top_k]
// each. bias ([E] or null) takes part in selection only. Ties go to the lower expert index.
void RouteExperts(const Context& context, const RouterConfig& config,
                  MatrixView<const float> logits, const float* bias, MatrixView<int32_t> experts,
                  MatrixView<float> weights);

}  // namespace latentd
