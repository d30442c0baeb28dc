// The MLP half of a layer: dense, or a mixture of experts.
#include <algorithm>

#include "engine/model/transformer.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/moe_router.h"

namespace latentd {

void Transformer::DenseMlp(const MlpWeights& w, const StepBatch& batch, MatrixView<const float> h,
                           MatrixView<float> out) {
  for (const WidthGroup& group : batch.groups) {
    Mlp(w.Units(config_.MlpUnits(group.width)), h.Rows(group.first_row, group.num_rows),
        out.Rows(group.first_row, group.num_rows));
  }
}

void Transformer::Mlp(const MlpWeights& w, MatrixView<const float> h, MatrixView<float> out) {
  const int64_t units = w.gate.rows;
  const MatrixView<float> gate{gate_.data(), h.rows, units, units};
  const MatrixView<float> up{up_.data(), h.rows, units, units};
  Linear(context_, {.x = h, .w = w.gate, .y = gate});
  Linear(context_, {.x = h, .w = w.up, .y = up});
  SiluMul(context_, gate, up);
  Linear(context_, {.x = gate, .w = w.down, .y = out});
}

// out = Σ_e weight_e · expert_e(h), experts ascending, in fp32, then the shared expert: the order
// of the sum is a property of the token. Each expert runs once, on the rows that chose it.
void Transformer::MixtureOfExperts(const LayerWeights& w, MatrixView<const float> h,
                                   MatrixView<float> out) {
  const RouterConfig& router = config_.moe->router;
  const int64_t k = router.top_k;
  const MatrixView<float> scores = router_logits_.Rows(h.rows);
  const MatrixView<float> weights = expert_weights_.Rows(h.rows);
  const MatrixView<int32_t> ids{expert_ids_.data(), h.rows, k, k};
  const WeightView gate{w.router_weight.data(), DType::kF32, router.num_experts, h.cols, h.cols};
  Linear(context_, {.x = h, .w = gate, .y = scores});
  RouteExperts(context_, router, scores, w.router_bias.empty() ? nullptr : w.router_bias.data(),
               ids, weights);

  for (auto& rows : expert_rows_) rows.clear();
  for (int64_t i = 0; i < h.rows * k; ++i) {
    expert_rows_[static_cast<size_t>(expert_ids_[static_cast<size_t>(i)])].push_back(i);
  }
  for (int64_t t = 0; t < h.rows; ++t) std::fill_n(out.row(t), out.cols, 0.0f);
  for (size_t e = 0; e < expert_rows_.size(); ++e) {
    const std::vector<int64_t>& rows = expert_rows_[e];
    if (rows.empty()) continue;
    const auto count = static_cast<int64_t>(rows.size());
    const MatrixView<float> in = expert_in_.Rows(count), result = expert_out_.Rows(count);
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(h.row(rows[static_cast<size_t>(i)] / k), h.cols, in.row(i));
    }
    const bool is_identity = e >= w.experts.size();  // those without weights come last
    if (!is_identity) {
      Mlp(w.experts[e], in, result);
      ++expert_runs_;
    }
    const MatrixView<float> from = is_identity ? in : result;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t choice = rows[static_cast<size_t>(i)];
      const float weight = weights.data[choice];
      float* sum = out.row(choice / k);
      for (int64_t j = 0; j < out.cols; ++j) sum[j] += weight * from.row(i)[j];
    }
  }
  if (!w.shared_expert.gate) return;
  const MatrixView<float> shared = expert_out_.Rows(h.rows);
  Mlp(w.shared_expert, h, shared);
  AddInPlace(context_, out, shared);
}

}  // namespace latentd
