#include "engine/model/transformer.h"

#include <algorithm>
#include <span>

#include "kernels/elementwise.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"

namespace latentd {
namespace {

int64_t MlpUnits(const ModelConfig& config) {
  if (!config.moe) return config.intermediate_size;
  return std::max({config.intermediate_size, config.moe->expert_intermediate_size,
                   config.moe->shared_intermediate_size});
}

}  // namespace

Transformer::Transformer(const ModelConfig& config, const Weights& weights, const Context& context,
                         const BlockLayout& layout, int64_t max_rows, Determinism determinism)
    : config_(config),
      weights_(weights),
      context_(context),
      layout_(layout),
      determinism_(determinism),
      query_norms_(static_cast<size_t>(config.num_layers)),
      x_(max_rows, config.hidden_size),
      h_(max_rows, config.hidden_size),
      block_out_(max_rows, config.hidden_size),
      angles_(max_rows, config.qk_rope_head_dim),
      q_a_(max_rows, config.q_lora_rank),
      q_(max_rows, config.num_heads * (config.qk_nope_head_dim + config.qk_rope_head_dim)),
      kv_a_(max_rows, config.kv_lora_rank + config.qk_rope_head_dim),
      keys_(max_rows, config.num_alphas() * config.qk_nope_head_dim),
      alphas_(max_rows, config.num_alphas()),
      rope_norms_(max_rows * config.num_alphas(), 1),
      scales_(layout.format == CacheFormat::kInt8 ? max_rows : 0, 1),
      q_absorbed_(max_rows * config.num_heads, layout.row_latent + config.qk_rope_head_dim),
      z_(max_rows * config.num_heads, layout.row_latent),
      heads_(max_rows, config.num_heads * config.v_head_dim),
      gate_(max_rows, MlpUnits(config)),
      up_(max_rows, MlpUnits(config)),
      logits_in_(kLogitsTile, config.hidden_size),
      logits_(kLogitsTile, config.vocab_size) {
  if (config.moe) {
    const RouterConfig& router = config.moe->router;
    router_logits_ = Buffer(max_rows, router.num_experts);
    expert_weights_ = Buffer(max_rows, router.top_k);
    expert_in_ = Buffer(max_rows, config.hidden_size);
    expert_out_ = Buffer(max_rows, config.hidden_size);
    if (config.moe->is_shortcut) shortcut_ = Buffer(max_rows, config.hidden_size);
    expert_ids_.resize(static_cast<size_t>(max_rows * router.top_k));
    expert_rows_.resize(static_cast<size_t>(router.num_experts));
  }
  if (config.key_norm == KeyNorm::kNone) return;
  for (size_t i = 0; i < query_norms_.size(); ++i) query_norms_[i] = QueryNormOf(weights.layers[i]);
}

MatrixView<float> Transformer::Embed(const StepBatch& batch) {
  MatrixView<float> x = x_.Rows(batch.num_rows());
  Embedding(context_, batch.token_ids, weights_.embedding, x);
  if (config_.embedding_scale != 1) ScaleInPlace(context_, x, config_.embedding_scale);
  if (config_.qk_rope_head_dim > 0) {
    RopeAngles(batch.positions, config_.rope.inv_freq, config_.rope.magnitude,
               angles_.Rows(batch.num_rows()));
  }
  return x;
}

void Transformer::RunLayer(int64_t layer, const StepBatch& batch, std::byte* pool,
                           MatrixView<float> x) {
  const LayerWeights& w = weights_.layers[static_cast<size_t>(layer)];
  MatrixView<float> h = h_.Rows(x.rows);
  MatrixView<float> out = block_out_.Rows(x.rows);
  RmsNorm(context_, x, w.input_norm.data(), config_.rms_norm_eps, h);
  Attention(layer, batch, pool, h, out);
  AddInPlace(context_, x, out, config_.residual_scale);
  RmsNorm(context_, x, w.post_attention_norm.data(), config_.rms_norm_eps, h);
  if (config_.starts_shortcut(layer)) MixtureOfExperts(w, h, shortcut_.Rows(x.rows));
  if (config_.is_moe_layer(layer)) {
    MixtureOfExperts(w, h, out);
  } else {
    DenseMlp(w.mlp, batch, h, out);
  }
  AddInPlace(context_, x, out, config_.residual_scale);
  if (config_.ends_shortcut(layer)) AddInPlace(context_, x, shortcut_.Rows(x.rows));
}

MatrixView<float> Transformer::Logits(MatrixView<const float> x, std::span<const int64_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  MatrixView<float> in = logits_in_.Rows(count);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(x.row(rows[static_cast<size_t>(i)]), x.cols, in.row(i));
  }
  RmsNorm(context_, in, weights_.final_norm.data(), config_.rms_norm_eps, in);
  MatrixView<float> logits = logits_.Rows(count);
  Linear(context_, {.x = in, .w = weights_.lm_head, .y = logits});
  return logits;
}

}  // namespace latentd
