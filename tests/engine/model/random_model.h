// A small random model in memory, dense or with experts.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/weights.h"

namespace latentd {

struct RandomModel {
  ModelConfig config;
  Weights weights;
  std::vector<std::unique_ptr<std::vector<float>>> storage;
};

// Fills `weights` for `config`; every matrix is drawn with variance 1 / columns, every norm in
// [0.5, 1.5]. Matrices are stored as `dtype`, F32 or BF16.
inline RandomModel MakeRandomModel(const ModelConfig& config, uint32_t seed,
                                   DType dtype = DType::kF32) {
  RandomModel model{config, {}, {}};
  std::mt19937 random(seed);
  const auto matrix = [&](int64_t rows, int64_t cols) {
    auto& data = model.storage.emplace_back(
        std::make_unique<std::vector<float>>(static_cast<size_t>(rows * cols)));
    std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(cols)));
    for (float& v : *data) v = normal(random);
    if (dtype == DType::kBF16) {  // packed into the front of the same memory
      auto* packed = reinterpret_cast<std::byte*>(data->data());
      for (size_t i = 0; i < data->size(); ++i) {
        const bf16 value = ToBf16((*data)[i]);
        std::memcpy(packed + i * sizeof(value), &value, sizeof(value));
      }
    }
    return WeightView{data->data(), dtype, rows, cols, cols};
  };
  const auto norm = [&](int64_t size) {
    std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
    std::vector<float> out(static_cast<size_t>(size));
    for (float& v : out) v = uniform(random);
    return out;
  };
  const int64_t d = config.hidden_size, heads = config.num_heads;
  const int64_t d_n = config.qk_nope_head_dim, d_r = config.qk_rope_head_dim;
  const int64_t query = heads * (d_n + d_r);
  model.weights.embedding = matrix(config.vocab_size, d);
  model.weights.lm_head = matrix(config.vocab_size, d);
  model.weights.final_norm = norm(d);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    LayerWeights& w = model.weights.layers.emplace_back();
    w.input_norm = norm(d);
    w.post_attention_norm = norm(d);
    if (config.q_lora_rank > 0) {
      w.q_a_proj = matrix(config.q_lora_rank, d);
      w.q_a_norm = norm(config.q_lora_rank);
      w.q_b_proj = matrix(query, config.q_lora_rank);
    } else {
      w.q_proj = matrix(query, d);
    }
    w.kv_a_proj = matrix(config.kv_lora_rank + d_r, d);
    w.kv_a_norm = norm(config.kv_lora_rank);
    w.kv_b_proj = matrix(config.num_kv_groups * (d_n + config.v_head_dim), config.kv_lora_rank);
    w.o_proj = matrix(d, heads * config.v_head_dim);
    if (config.key_norm != KeyNorm::kNone) {
      w.q_content_norm = norm(d_n);
      w.k_content_norm = norm(d_n);
      w.q_rope_norm = norm(d_r);
      w.k_rope_norm = norm(d_r);
    }
    const auto mlp = [&](int64_t units) {
      return MlpWeights{matrix(units, d), matrix(units, d), matrix(d, units)};
    };
    if (!config.is_moe_layer(i)) w.mlp = mlp(config.intermediate_size);
    if (!config.is_moe_layer(i) && !config.starts_shortcut(i)) continue;
    std::normal_distribution<float> normal(0, 1 / std::sqrt(static_cast<float>(d)));
    w.router_weight.resize(static_cast<size_t>(config.moe->router.num_experts * d));
    for (float& v : w.router_weight) v = normal(random);
    for (int64_t e = 0; e < config.moe->num_weighted(); ++e) {
      w.experts.push_back(mlp(config.moe->expert_intermediate_size));
    }
    if (config.moe->shared_intermediate_size > 0) {
      w.shared_expert = mlp(config.moe->shared_intermediate_size);
    }
  }
  return model;
}

}  // namespace latentd
