#include "engine/bench/work.h"
#include "kernels/core/rounding.h"

#include <algorithm>

namespace latentd {
namespace {

// Weight elements that a step reads and that each of its tokens multiplies with.
struct Elements {
  double read = 0;  // but for kv_b_proj and experts
  double kv_b = 0;  // of it, read
  double used = 0;
};

Elements AttentionElements(const ModelConfig& m, const Width& width) {
  const auto d = static_cast<double>(m.hidden_size), heads = static_cast<double>(m.num_heads);
  const auto d_n = static_cast<double>(m.qk_nope_head_dim);
  const auto d_r = static_cast<double>(m.qk_rope_head_dim);
  const auto d_v = static_cast<double>(m.v_head_dim), w_kv = static_cast<double>(width.kv);
  const auto groups = static_cast<double>(m.num_kv_groups);
  const double query = m.q_lora_rank == 0
                           ? d * heads * (d_n + d_r)
                           : static_cast<double>(width.q) * (d + heads * (d_n + d_r));
  const double shared = query + d * (w_kv + d_r) + heads * d_v * d;
  const double key_norm = m.key_norm == KeyNorm::kNone ? 0 : groups * d_n * w_kv;
  return {shared, groups * (d_n + d_v) * w_kv, shared + heads * (d_n + d_v) * w_kv + key_norm};
}

double OneExpert(const ModelConfig& m) {
  return 3 * static_cast<double>(m.hidden_size * m.moe->expert_intermediate_size);
}

Elements MoeElements(const ModelConfig& m) {
  const auto d = static_cast<double>(m.hidden_size);
  const RouterConfig& router = m.moe->router;
  const double always = 3 * d * static_cast<double>(m.moe->shared_intermediate_size) +
                        d * static_cast<double>(router.num_experts);
  return {always, 0, always + static_cast<double>(router.top_k) * OneExpert(m)};
}

Elements MlpElements(const ModelConfig& m, int64_t layer, const Width& width) {
  if (m.is_moe_layer(layer)) return MoeElements(m);
  const double dense =
      3 * static_cast<double>(m.hidden_size) * static_cast<double>(m.MlpUnits(width));
  if (!m.starts_shortcut(layer)) return {dense, 0, dense};
  const Elements beside = MoeElements(m);
  return {dense + beside.read, 0, dense + beside.used};
}

void Add(const WorkCost& cost, WorkCost* sum) {
  sum->bytes += cost.bytes;
  sum->flops += cost.flops;
}

// One step of `batch` sequences with `tokens` new tokens each, without the experts' bytes.
WorkCost StepCost(const ModelConfig& m, const WeightBytes& weight_bytes, double cache_bytes,
                  int64_t batch, int64_t depth, int64_t tokens, int64_t logits_rows,
                  const Width& width) {
  Elements sum;
  for (int64_t layer = 0; layer < m.num_layers; ++layer) {
    const Elements attention = AttentionElements(m, width);
    const Elements mlp = MlpElements(m, layer, width);
    sum.read += attention.read + mlp.read;
    sum.kv_b += attention.kv_b;
    sum.used += attention.used + mlp.used;
  }
  const double head = static_cast<double>(m.vocab_size) * static_cast<double>(m.hidden_size);
  const auto rows = static_cast<double>(batch * tokens), n = static_cast<double>(tokens);
  const double pairs =
      static_cast<double>(batch) * (n * static_cast<double>(depth) + n * (n + 1) / 2);
  const double pair_flops =
      2.0 * static_cast<double>(m.num_layers * m.num_heads * (2 * width.kv + m.qk_rope_head_dim));
  WorkCost cost;
  cost.bytes = sum.read * weight_bytes.projection + sum.kv_b * weight_bytes.kv_b +
               (logits_rows > 0 ? head * weight_bytes.head : 0) +
               static_cast<double>(batch * (depth + tokens)) * cache_bytes;
  cost.flops = 2 * (rows * sum.used + static_cast<double>(logits_rows) * head) + pairs * pair_flops;
  return cost;
}

}  // namespace

WorkCost CostOf(const ModelConfig& model, const WeightBytes& weight_bytes,
                int64_t cache_bytes_per_token, int64_t step_tokens, const BenchWork& work,
                int64_t expert_runs) {
  const auto cache = static_cast<double>(cache_bytes_per_token);
  WorkCost total;
  if (model.moe) {
    total.bytes = static_cast<double>(expert_runs) * OneExpert(model) * weight_bytes.projection;
  }
  if (work.kind == BenchWork::Kind::kDecode) {
    Add(StepCost(model, weight_bytes, cache, work.batch, work.depth, 1, work.batch, work.width),
        &total);
    return total;
  }
  for (int64_t done = 0; done < work.tokens; done += step_tokens) {
    const int64_t count = std::min(step_tokens, work.tokens - done);
    const int64_t logits_rows = done + count == work.tokens ? 1 : 0;
    Add(StepCost(model, weight_bytes, cache, 1, work.depth + done, count, logits_rows, work.width),
        &total);
  }
  return total;
}

int64_t LeastExpertRuns(const ModelConfig& model, int64_t step_tokens, const BenchWork& work) {
  if (!model.moe) return 0;
  const RouterConfig& router = model.moe->router;
  const int64_t identities = router.num_experts - model.moe->num_weighted();
  int64_t layers = 0;
  for (int64_t layer = 0; layer < model.num_layers; ++layer) {
    layers += model.is_moe_layer(layer) || model.starts_shortcut(layer) ? 1 : 0;
  }
  const bool decode = work.kind == BenchWork::Kind::kDecode;
  const int64_t steps = decode ? 1 : CeilDiv(work.tokens, step_tokens);
  return steps * layers * std::max<int64_t>(0, router.top_k - identities);
}

}  // namespace latentd
