#include "tests/engine/model/naive_model.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/dtype.h"
#include "kernels/moe_router.h"

namespace latentd {
namespace {

using Vec = NaiveVec;

void Store(CacheFormat cache, Vec& c) {
  double largest = 0;
  for (double v : c) largest = std::max(largest, std::abs(v));
  for (double& v : c) {
    v = cache == CacheFormat::kInt8 ? std::nearbyint(v / largest * 127) * largest / 127
                                    : static_cast<double>(RoundToBf16(static_cast<float>(v)));
  }
}

Vec Query(const ModelConfig& config, const LayerWeights& w, const Vec& h) {
  if (config.q_lora_rank == 0) return MatVec(w.q_proj, h);
  return MatVec(w.q_b_proj, Norm(MatVec(w.q_a_proj, h), w.q_a_norm,
                                 static_cast<double>(config.latent_norm_eps)));
}

NaiveInputs Project(const ModelConfig& config, const LayerWeights& w, const std::vector<Vec>& h,
                    CacheFormat cache) {
  const int64_t r = config.kv_lora_rank;
  NaiveInputs inputs;
  for (const Vec& row : h) {
    const Vec kv = MatVec(w.kv_a_proj, row);
    Vec c = Norm(Part(kv, 0, r), w.kv_a_norm, static_cast<double>(config.latent_norm_eps));
    Store(cache, c);
    inputs.c.push_back(c);
    inputs.k.push_back(Part(kv, r, config.qk_rope_head_dim));
    Vec q = Query(config, w, row);
    const auto position = static_cast<int64_t>(inputs.q.size());
    const auto contexts = static_cast<double>(position / config.rope.query_context);
    for (double& v : q) v *= 1 + config.rope.query_beta * std::log(1 + contexts);
    inputs.q.push_back(q);
  }
  return inputs;
}

Vec Mlp(const MlpWeights& mlp, const Vec& h) {
  Vec gate = MatVec(mlp.gate, h);
  const Vec up = MatVec(mlp.up, h);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
  return MatVec(mlp.down, gate);
}

// The router's own choice: kernels/moe_router.h is tested by itself.
Vec Experts(const ModelConfig& config, const LayerWeights& w, const Vec& h) {
  const RouterConfig& router = config.moe->router;
  const WeightView gate{w.router_weight.data(), DType::kF32, router.num_experts, config.hidden_size,
                        config.hidden_size};
  const Vec scores = MatVec(gate, h);
  std::vector<float> logits(scores.begin(), scores.end());
  std::vector<int32_t> ids(static_cast<size_t>(router.top_k));
  std::vector<float> weights(ids.size());
  RouteExperts({}, router, {logits.data(), 1, router.num_experts, router.num_experts},
               w.router_bias.empty() ? nullptr : w.router_bias.data(),
               {ids.data(), 1, router.top_k, router.top_k},
               {weights.data(), 1, router.top_k, router.top_k});
  Vec sum = w.shared_expert.gate ? Mlp(w.shared_expert, h) : Vec(h.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto expert = static_cast<size_t>(ids[i]);
    const Vec out = expert < w.experts.size() ? Mlp(w.experts[expert], h) : h;
    for (size_t j = 0; j < sum.size(); ++j) sum[j] += static_cast<double>(weights[i]) * out[j];
  }
  return sum;
}

}  // namespace

NaiveResult NaiveForward(const ModelConfig& config, const Weights& weights,
                         const std::vector<uint32_t>& ids, CacheFormat cache,
                         const NaiveAttention& attention) {
  std::vector<Vec> x;
  for (uint32_t id : ids) {
    Vec row(static_cast<size_t>(config.hidden_size));
    for (int64_t j = 0; j < config.hidden_size; ++j) {
      row[static_cast<size_t>(j)] =
          At(weights.embedding, id, j) * static_cast<double>(config.embedding_scale);
    }
    x.push_back(row);
  }
  NaiveResult result;
  const double eps = static_cast<double>(config.rms_norm_eps);
  const auto add = [scale = static_cast<double>(config.residual_scale)](Vec& a, const Vec& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += scale * b[i];
  };
  std::vector<Vec> shortcut(ids.size());
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const LayerWeights& w = weights.layers[static_cast<size_t>(layer)];
    std::vector<Vec> h;
    for (const Vec& row : x) h.push_back(Norm(row, w.input_norm, eps));
    const NaiveAttended attended = attention(config, w, Project(config, w, h, cache));
    for (const Vec& scores : attended.scores) {
      for (double v : scores) result.largest_score = std::max(result.largest_score, std::abs(v));
    }
    for (size_t t = 0; t < x.size(); ++t) {
      add(x[t], MatVec(w.o_proj, attended.heads[t]));
      const Vec normed = Norm(x[t], w.post_attention_norm, eps);
      if (config.starts_shortcut(layer)) shortcut[t] = Experts(config, w, normed);
      add(x[t], config.is_moe_layer(layer) ? Experts(config, w, normed) : Mlp(w.mlp, normed));
      if (!config.ends_shortcut(layer)) continue;
      for (size_t j = 0; j < x[t].size(); ++j) x[t][j] += shortcut[t][j];
    }
  }
  for (const Vec& row : x) {
    result.logits.push_back(MatVec(weights.lm_head, Norm(row, weights.final_norm, eps)));
  }
  return result;
}

}  // namespace latentd
