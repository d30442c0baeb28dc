// The MLP half of a layer: dense, or a mixture of experts.
#include "engine/cuda/cuda_transformer.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/operators.h"

namespace latentd {

void CudaTransformer::DenseMlp(const MlpWeights& w, const StepBatch& batch,
                               MatrixView<const float> h, MatrixView<float> out) {
  for (const WidthGroup& group : batch.groups) {
    Mlp(w.Units(config_.MlpUnits(group.width)), h.Rows(group.first_row, group.num_rows),
        out.Rows(group.first_row, group.num_rows));
  }
}

void CudaTransformer::Mlp(const MlpWeights& w, MatrixView<const float> h, MatrixView<float> out) {
  const int64_t units = w.gate.rows;
  const MatrixView<float> gate{a_.gate, h.rows, units, units}, up{a_.up, h.rows, units, units};
  project_.Linear({.x = h, .w = w.gate, .y = gate});
  project_.Linear({.x = h, .w = w.up, .y = up});
  cuda::SiluMul(stream_, gate, up);
  project_.Linear({.x = gate, .w = w.down, .y = out});
}

// out = Σ_e weight_e · expert_e(h), experts ascending, in fp32, then the shared expert. The host
// does not learn who chose what.
void CudaTransformer::MixtureOfExperts(const DeviceLayer& w, MatrixView<const float> h,
                                       MatrixView<float> out) {
  const MoeConfig& moe = *config_.moe;
  const int64_t num_experts = moe.router.num_experts, k = moe.router.top_k;
  const int64_t units = moe.expert_intermediate_size, choices = h.rows * k;
  const MatrixView<float> scores{a_.router_logits, h.rows, num_experts, num_experts};
  const MatrixView<int32_t> ids{a_.expert_ids, h.rows, k, k};
  const MatrixView<float> weights{a_.expert_weights, h.rows, k, k};
  const MatrixView<float> results{a_.expert_out, choices, h.cols, h.cols};
  project_.Linear({.x = h, .w = w.router_weight, .y = scores});
  cuda::RouteExperts(stream_, moe.router, scores, w.router_bias, ids, weights);
  cuda::GroupByExpert(stream_, {.experts = ids,
                                .num_experts = num_experts,
                                .num_weighted = moe.num_weighted(),
                                .groups = a_.groups});
  cuda::ExpertMlps(stream_, {.x = h,
                             .top_k = k,
                             .num_weighted = moe.num_weighted(),
                             .gate = w.expert_gate,
                             .up = w.expert_up,
                             .down = w.expert_down,
                             .groups = a_.groups,
                             .hidden_gate = {a_.expert_gate, choices, units, units},
                             .hidden_up = {a_.expert_up, choices, units, units},
                             .results = results});
  cuda::SumExperts(stream_, {.x = h,
                             .experts = ids,
                             .weights = weights,
                             .num_weighted = moe.num_weighted(),
                             .places = a_.groups.places,
                             .results = results,
                             .out = out});
  if (!w.shared_expert.gate) return;
  const MatrixView<float> shared{a_.shared_out, h.rows, h.cols, h.cols};
  Mlp(w.shared_expert, h, shared);
  cuda::AddInPlace(stream_, out, shared);
}

}  // namespace latentd
