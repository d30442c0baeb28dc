// An elastic model, and the model of one of its widths made of copies of the leading slices.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "tests/engine/model/model_runner.h"

namespace latentd {

constexpr int64_t kQ = 24, kKv = 100, kRope = 8;  // full ranks; kKv spans two units of 64

inline ModelConfig ElasticGeometry(KeyNorm norm, int64_t rope_dim = kRope) {
  ModelConfig config = Geometry();
  config.kv_lora_rank = kKv;
  config.intermediate_size = 300;
  config.key_norm = norm;
  config.num_kv_groups = 3;
  config.qk_rope_head_dim = rope_dim;
  if (rope_dim == 0) config.rope.inv_freq.clear();
  config.elastic = ElasticConfig{{kQ}, {kKv}, true, true};
  return config;
}

// Copies chosen rows, and of each the leading columns.
inline WeightView CopySlice(RandomModel* to, const WeightView& from,
                            const std::vector<std::pair<int64_t, int64_t>>& row_ranges,
                            int64_t cols) {
  int64_t rows = 0;
  for (const auto& range : row_ranges) rows += range.second;
  const size_t size = SizeOf(from.dtype), row_bytes = static_cast<size_t>(cols) * size;
  auto& data = to->storage.emplace_back(
      std::make_unique<std::vector<float>>(static_cast<size_t>(rows * cols)));
  auto* at = reinterpret_cast<std::byte*>(data->data());
  for (const auto& [first, count] : row_ranges) {
    for (int64_t i = first; i < first + count; ++i, at += row_bytes) {
      std::memcpy(at, from.Rows(i, 1).data, row_bytes);
    }
  }
  return {data->data(), from.dtype, rows, cols, cols};
}

inline RandomModel Sliced(const RandomModel& model, Width width) {
  const ModelConfig& full = model.config;
  RandomModel out{full, model.weights, {}};
  ModelConfig& config = out.config;
  config.elastic.reset();
  config.q_lora_rank = width.q;
  config.kv_lora_rank = width.kv;
  config.intermediate_size = std::min(full.intermediate_size, 4 * std::max(width.q, width.kv));
  const int64_t d = full.hidden_size, d_r = full.qk_rope_head_dim;
  for (LayerWeights& w : out.weights.layers) {
    if (width.q > 0) {
      w.q_a_proj = CopySlice(&out, w.q_a_proj, {{0, width.q}}, d);
      w.q_a_norm.resize(static_cast<size_t>(width.q));
      w.q_b_proj = CopySlice(&out, w.q_b_proj, {{0, w.q_b_proj.rows}}, width.q);
    }
    w.kv_a_proj = CopySlice(&out, w.kv_a_proj, {{0, width.kv}, {full.kv_lora_rank, d_r}}, d);
    w.kv_a_norm.resize(static_cast<size_t>(width.kv));
    if (!w.kv_a_bias.empty()) {
      w.kv_a_bias.erase(w.kv_a_bias.begin() + width.kv, w.kv_a_bias.begin() + full.kv_lora_rank);
      w.q_a_bias.resize(static_cast<size_t>(width.q));
    }
    w.kv_b_proj = CopySlice(&out, w.kv_b_proj, {{0, w.kv_b_proj.rows}}, width.kv);
    const int64_t units = config.intermediate_size;
    w.mlp = {CopySlice(&out, w.mlp.gate, {{0, units}}, d),
             CopySlice(&out, w.mlp.up, {{0, units}}, d),
             CopySlice(&out, w.mlp.down, {{0, d}}, units)};
  }
  return out;
}

inline void AddBiases(RandomModel* model) {
  model->config.attention_bias = true;
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto bias = [&](int64_t size) {
    std::vector<float> out(static_cast<size_t>(size));
    for (float& v : out) v = uniform(random);
    return out;
  };
  for (LayerWeights& w : model->weights.layers) {
    w.q_a_bias = bias(model->config.q_lora_rank);
    w.kv_a_bias = bias(kKv + model->config.qk_rope_head_dim);
    w.o_bias = bias(model->config.hidden_size);
  }
}

}  // namespace latentd
