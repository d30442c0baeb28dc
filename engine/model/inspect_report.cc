#include "engine/model/inspect_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/model/cache_shape.h"
#include "engine/model/inspect.h"
#include "kernels/mla_attention.h"

namespace latentd {
namespace {

using Json = nlohmann::ordered_json;

const char* KeyNormName(KeyNorm norm) {
  switch (norm) {
    case KeyNorm::kNone:
      return "none";
    case KeyNorm::kBlockwise:
      return "blockwise";
    case KeyNorm::kUnified:
      return "unified";
  }
  return "none";
}

const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kE4M3:
      return "F8_E4M3";
    case DType::kInt4:
    case DType::kInt4Blocks:
      return "I4";
    case DType::kInt8:
      return "I8";
  }
  return "BF16";
}

Json Geometry(const ModelConfig& config) {
  return {{"hidden_size", config.hidden_size},
          {"num_layers", config.num_layers},
          {"num_heads", config.num_heads},
          {"num_kv_groups", config.num_kv_groups},
          {"q_lora_rank", config.q_lora_rank},
          {"kv_lora_rank", config.kv_lora_rank},
          {"qk_nope_head_dim", config.qk_nope_head_dim},
          {"qk_rope_head_dim", config.qk_rope_head_dim},
          {"v_head_dim", config.v_head_dim},
          {"intermediate_size", config.intermediate_size},
          {"vocab_size", config.vocab_size},
          {"max_context", config.max_context},
          {"key_norm", KeyNormName(config.key_norm)},
          {"tie_word_embeddings", config.tie_word_embeddings}};
}

Json Rope(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  Json report = {{"scaling", rope.scaling},
                 {"interleaved", rope.interleaved},
                 {"magnitude", rope.magnitude},
                 {"softmax_scale", config.softmax_scale}};
  if (rope.query_beta != 0) report["query_beta"] = rope.query_beta;
  if (!rope.inv_freq.empty()) {
    report["inverse_frequencies"] = {rope.inv_freq.front(), rope.inv_freq.back()};
  }
  return report;
}

Json Experts(const MoeConfig& moe) {
  return {{"num_experts", moe.router.num_experts},
          {"top_k", moe.router.top_k},
          {"scores", moe.router.score == RouterScore::kSigmoid ? "sigmoid" : "softmax"},
          {"group_scores", moe.router.group_score == GroupScore::kMax ? "max" : "top-2 sum"},
          {"norm_top_k", moe.router.norm_top_k},
          {"routed_scale", moe.router.routed_scale},
          {"identity_experts", moe.num_identity_experts},
          {"shortcut", moe.is_shortcut},
          {"num_groups", moe.router.num_groups},
          {"top_groups", moe.router.top_groups},
          {"expert_intermediate_size", moe.expert_intermediate_size},
          {"shared_intermediate_size", moe.shared_intermediate_size},
          {"num_dense_layers", moe.num_dense_layers}};
}

Json Cache(const ModelConfig& config, int64_t kv_rank, CacheFormat format = CacheFormat::kBf16) {
  const CacheCost cost = CacheCostOf(config, kv_rank, format);
  const PageShape shape = CacheShapeOf(config, format);
  Json cache = {{"kv_rank", kv_rank},
                {"bytes_per_token", cost.bytes_per_token},
                {"expanded_bytes_per_token", cost.expanded_per_token},
                {"bytes_per_block", cost.bytes_per_block},
                {"bytes_per_page", shape.page_bytes()},
                {"blocks_per_page", shape.blocks_per_page(shape.ClassOf(kv_rank))}};
  for (const int64_t gib : kMemoryGiB) {
    cache[absl::StrCat("tokens_in_", gib, "_gib")] =
        ContextThatFits(config, kv_rank, gib * kGiB, format);
  }
  return cache;
}

int64_t Elements(const MlpWeights& mlp) {
  return mlp.gate.rows * mlp.gate.cols + mlp.up.rows * mlp.up.cols + mlp.down.rows * mlp.down.cols;
}

// Parameters that take part in one token: top_k experts a layer, and of an embedding that is not
// the head too, nothing (a row of it).
int64_t ActiveParameters(const Model& model) {
  auto active = static_cast<int64_t>(model.weights.num_parameters);
  const WeightView& table = model.weights.embedding;
  if (table.data != model.weights.lm_head.data) active -= table.rows * table.cols;
  for (const LayerWeights& layer : model.weights.layers) {
    const auto count = static_cast<int64_t>(layer.experts.size());
    if (count == 0) continue;
    active -=
        std::max<int64_t>(0, count - model.config.moe->router.top_k) * Elements(layer.experts[0]);
  }
  return active;
}

// "BF16", or how the quantised matrices are stored.
std::string WeightFormat(const Weights& weights) {
  return weights.quantisation.empty() ? DTypeName(weights.embedding.dtype) : weights.quantisation;
}

// What a memory holds: as cache alone, as full keys and values, and beside the weights.
Json Memory(const Model& model, int64_t bytes) {
  const int64_t rank = model.config.kv_lora_rank;
  const auto weights = static_cast<int64_t>(model.weights.num_bytes);
  return {{"bytes", bytes},
          {"tokens", ContextThatFits(model.config, rank, bytes)},
          {"tokens_of_keys_and_values", bytes / CacheCostOf(model.config, rank).expanded_per_token},
          {"tokens_beside_weights",
           ContextThatFits(model.config, rank, std::max<int64_t>(0, bytes - weights))}};
}

}  // namespace

Json InspectReport(const Model& model, int64_t memory_bytes) {
  const ModelConfig& config = model.config;
  Json report = {{"family", config.family},
                 {"parameters", model.weights.num_parameters},
                 {"active_parameters", ActiveParameters(model)},
                 {"weight_bytes", model.weights.num_bytes},
                 {"dtype", DTypeName(model.weights.embedding.dtype)},
                 {"weight_format", WeightFormat(model.weights)},
                 {"bytes_by_dtype", model.weights.bytes_by_dtype},
                 {"geometry", Geometry(config)},
                 {"rope", Rope(config)},
                 {"cache", Cache(config, config.kv_lora_rank)},
                 {"cache_int8", Cache(config, config.kv_lora_rank, CacheFormat::kInt8)}};
  if (config.moe.has_value()) report["experts"] = Experts(*config.moe);
  if (config.elastic.has_value()) {
    Json& elastic = report["elastic"];
    elastic = {{"q_ranks", config.elastic->q_lora_ranks},
               {"kv_ranks", config.elastic->kv_lora_ranks},
               {"continuous", config.elastic->continuous},
               {"mlp_follows", config.elastic->mlp_follows}};
    for (const int64_t rank : config.elastic->kv_lora_ranks) {
      elastic["cache"].push_back(Cache(config, rank));
      elastic["cache_int8"].push_back(Cache(config, rank, CacheFormat::kInt8));
    }
  }
  if (memory_bytes > 0) report["memory"] = Memory(model, memory_bytes);
  report["notes"] = model.notes;
  return report;
}

}  // namespace latentd
