#include "server/model_info.h"

#include "engine/model/loader.h"

namespace latentd {
namespace {

const char* Name(KeyNorm norm) {
  switch (norm) {
    case KeyNorm::kBlockwise:
      return "blockwise";
    case KeyNorm::kUnified:
      return "unified";
    case KeyNorm::kNone:
      break;
  }
  return "none";
}

}  // namespace

v1::Model DescribeModel(const ServiceParts& parts) {
  const ModelConfig& config = parts.model->config;
  v1::Model model;
  model.set_id(parts.model_id);
  model.set_family(config.family);
  model.set_max_context(static_cast<uint32_t>(parts.max_context));
  model.set_num_layers(static_cast<uint32_t>(config.num_layers));
  model.set_num_heads(static_cast<uint32_t>(config.num_heads));
  model.set_num_kv_groups(static_cast<uint32_t>(config.num_kv_groups));
  model.set_q_lora_rank(static_cast<uint32_t>(config.q_lora_rank));
  model.set_kv_lora_rank(static_cast<uint32_t>(config.kv_lora_rank));
  model.set_qk_rope_head_dim(static_cast<uint32_t>(config.qk_rope_head_dim));
  model.set_qk_norm(Name(config.key_norm));
  model.set_num_parameters(parts.model->weights.num_parameters);
  model.set_cache_bytes_per_token(static_cast<uint32_t>(parts.cache_bytes_per_token));
  model.set_vocab_size(static_cast<uint32_t>(config.vocab_size));
  model.set_determinism(parts.determinism);
  if (config.elastic) {
    v1::Elastic* elastic = model.mutable_elastic();
    for (const int64_t rank : config.elastic->q_lora_ranks) {
      elastic->add_q_ranks(static_cast<uint32_t>(rank));
    }
    for (const int64_t rank : config.elastic->kv_lora_ranks) {
      elastic->add_kv_ranks(static_cast<uint32_t>(rank));
    }
    elastic->set_continuous(config.elastic->continuous);
  }
  return model;
}

}  // namespace latentd
