#include "engine/model/config.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "engine/model/config_parts.h"
#include "engine/model/rope_scaling.h"
#include "engine/model/strict_json.h"

namespace latentd {
namespace {

constexpr char kFile[] = "config.json";
constexpr double kMinEps = 1e-12;
constexpr double kMaxEps = 1e-1;
constexpr int64_t kMaxElements = int64_t{1} << 56;  // of one kind of tensor over all layers

const Family* ReadFamily(KeyReader& keys) {
  const std::string model_type = keys.String("model_type");
  const Family* family = FindFamily(model_type);
  if (family == nullptr) {
    const std::string_view why = WhyNotServed(model_type);
    const std::string reason = why.empty() ? "" : absl::StrCat(": ", View(why));
    keys.Fail("model_type",
              absl::StrCat("'", Printable(model_type), "' is not served", reason,
                           "; this build serves ", absl::StrJoin(FamilyNames(), ", ")));
  }
  return family;
}

void ReadGeometry(KeyReader& keys, const Family& family, ModelConfig* model) {
  model->hidden_size = keys.Int("hidden_size", 1, kMaxUnits);
  model->num_layers = keys.Int(family.keys.num_layers, 1, kMaxSmall);
  if (family.has_double_layers) model->num_layers *= 2;
  model->num_heads = keys.Int("num_attention_heads", 1, kMaxSmall);
  model->num_kv_groups = keys.IntOr("num_kv_groups", 1, model->num_heads, model->num_heads);
  model->q_lora_rank = keys.IntOr("q_lora_rank", 1, kMaxUnits, 0);
  model->kv_lora_rank = keys.Int("kv_lora_rank", 1, kMaxUnits);
  model->qk_nope_head_dim = keys.Int("qk_nope_head_dim", 1, kMaxSmall);
  model->qk_rope_head_dim = keys.Int("qk_rope_head_dim", 0, kMaxSmall);
  model->v_head_dim = family.value_dim_from_hidden && !keys.Has("v_head_dim")
                          ? std::max<int64_t>(model->hidden_size / model->num_heads, 1)
                          : keys.Int("v_head_dim", 1, kMaxSmall);
  model->intermediate_size = keys.Int(family.keys.intermediate_size, 1, kMaxUnits);
  model->vocab_size = keys.Int("vocab_size", 1, kMaxUnits);
  model->max_context = keys.Int("max_position_embeddings", 1, kMaxUnits);
  if (model->num_heads % model->num_kv_groups != 0) {
    keys.Fail("num_kv_groups",
              absl::StrCat(model->num_kv_groups, " does not divide num_attention_heads ",
                           model->num_heads));
  }
  if (model->qk_rope_head_dim % 2 != 0) keys.Fail("qk_rope_head_dim", "must be even");
}

// No kind of tensor may have more elements than 64-bit offsets can carry, whatever the files hold.
void CheckSizes(KeyReader& keys, const ModelConfig& model) {
  const auto check = [&keys](const char* key, std::initializer_list<int64_t> factors) {
    int64_t elements = 1;
    for (const int64_t factor : factors) {
      if (__builtin_mul_overflow(elements, factor, &elements) || elements > kMaxElements) {
        keys.Fail(key, "makes tensors of absurd size");
        return;
      }
    }
  };
  const int64_t head = model.qk_nope_head_dim + std::max(model.v_head_dim, model.qk_rope_head_dim);
  const int64_t layers = model.num_layers;
  check("vocab_size", {model.vocab_size, model.hidden_size});
  check("intermediate_size", {layers, model.intermediate_size, model.hidden_size});
  check("num_attention_heads", {layers, model.num_heads, head, model.hidden_size});
  check("q_lora_rank", {layers, model.num_heads, head, std::max<int64_t>(model.q_lora_rank, 1)});
  check("q_lora_rank", {layers, model.q_lora_rank, model.hidden_size});
  check("kv_lora_rank", {layers, model.num_heads, head, model.kv_lora_rank});
  check("kv_lora_rank", {layers, model.kv_lora_rank + model.qk_rope_head_dim, model.hidden_size});
  if (!model.moe.has_value()) return;
  check("moe_intermediate_size", {layers, model.moe->router.num_experts,
                                  model.moe->expert_intermediate_size, model.hidden_size, 2});
  check("n_shared_experts", {layers, model.moe->shared_intermediate_size, model.hidden_size});
}

std::optional<KeyNorm> ReadKeyNorm(KeyReader& keys) {
  if (!keys.Has("qk_norm")) return std::nullopt;
  const std::string value = keys.String("qk_norm");
  if (value == "none") return KeyNorm::kNone;
  if (value == "blockwise") return KeyNorm::kBlockwise;
  if (value == "unified") return KeyNorm::kUnified;
  keys.Fail("qk_norm", absl::StrCat("must be \"none\", \"blockwise\" or \"unified\", not ",
                                    keys.Text("qk_norm")));
  return std::nullopt;
}

void ReadNorms(KeyReader& keys, ParsedConfig* config) {
  ModelConfig& model = config->model;
  const double eps = keys.NumberOr("rms_norm_eps", kMinEps, kMaxEps, 1e-6);
  const double latent_eps = config->family->latent_norm_eps.value_or(eps);
  model.rms_norm_eps = static_cast<float>(eps);
  model.latent_norm_eps =
      static_cast<float>(keys.NumberOr("latent_norm_eps", kMinEps, kMaxEps, latent_eps));
  model.qk_norm_eps = static_cast<float>(keys.NumberOr("qk_norm_eps", kMinEps, kMaxEps, eps));
  model.qk_norm_before_rope = keys.BoolOr("qk_norm_before_rope", true);
  config->key_norm = ReadKeyNorm(keys);
  model.key_norm = config->key_norm.value_or(KeyNorm::kNone);
}

void ReadLatentScales(KeyReader& keys, ParsedConfig* config) {
  const ModelConfig& model = config->model;
  const double hidden = static_cast<double>(model.hidden_size);
  if (keys.BoolOr("mla_scale_q_lora", config->family->latent_scales)) {
    if (model.q_lora_rank == 0) keys.Fail("mla_scale_q_lora", "needs a q_lora_rank");
    config->q_latent_scale =
        std::sqrt(hidden / static_cast<double>(std::max<int64_t>(model.q_lora_rank, 1)));
  }
  if (keys.BoolOr("mla_scale_kv_lora", config->family->latent_scales)) {
    config->kv_latent_scale = std::sqrt(hidden / static_cast<double>(model.kv_lora_rank));
  }
}

void ReadScales(KeyReader& keys, ParsedConfig* config) {
  if (!config->family->scales.has_value()) return;
  const ScaleFamily& scales = *config->family->scales;
  ModelConfig& model = config->model;
  constexpr double kMax = 1e6;
  const auto hidden = static_cast<double>(model.hidden_size);
  const double root = std::sqrt(static_cast<double>(model.num_layers));
  const auto number = [&keys](const char* key, double absent, double null) {
    return keys.NumberOr(key, 1e-6, kMax, keys.IsNull(key) ? null : absent);
  };
  model.embedding_scale = static_cast<float>(number("scale_emb", scales.embedding, 1));
  model.residual_scale = static_cast<float>(number("scale_depth", scales.depth, root) / root);
  config->logit_scale =
      number("dim_model_base", static_cast<double>(scales.base_size), hidden) / hidden;
}

RopeSettings ReadRotation(KeyReader& keys, const ParsedConfig& config, int64_t served_context) {
  const ModelConfig& model = config.model;
  const int64_t served =
      served_context == 0 ? model.max_context : std::min(served_context, model.max_context);
  return ReadRope(keys, {.family = config.family->rope,
                         .dim = model.qk_rope_head_dim,
                         .key_dim = model.qk_nope_head_dim + model.qk_rope_head_dim,
                         .max_context = model.max_context,
                         .served_context = served});
}

void ReadModel(KeyReader& keys, int64_t served_context, ParsedConfig* config) {
  ModelConfig& model = config->model;
  model.family = std::string(config->family->model_type);
  ReadGeometry(keys, *config->family, &model);
  ReadNorms(keys, config);
  ReadLatentScales(keys, config);
  ReadScales(keys, config);
  model.tie_word_embeddings =
      keys.BoolOr("tie_word_embeddings", config->family->tie_word_embeddings);
  model.attention_bias = keys.BoolOr("attention_bias", false);
  model.moe = ReadMoe(keys, *config->family, model.num_layers);
  model.elastic = ReadElastic(keys, model.q_lora_rank, model.kv_lora_rank);
  config->num_mtp_layers =
      keys.IntOr("num_nextn_predict_layers", 0, 64, config->family->num_mtp_layers);
  config->eos_token_ids = ReadEosIds(keys, model.vocab_size);
  config->bos_token_id = ReadBosId(keys, model.vocab_size);
  config->quantisation = ReadQuantisation(keys);
  RefuseUnsupported(keys, model);
  CheckSizes(keys, model);

  RopeSettings rope = ReadRotation(keys, *config, served_context);
  model.rope = std::move(rope.rope);
  const double key_dim = static_cast<double>(model.qk_nope_head_dim + model.qk_rope_head_dim);
  model.softmax_scale = static_cast<float>(rope.score_factor / std::sqrt(key_dim));
}

}  // namespace

absl::StatusOr<ParsedConfig> ParseConfig(std::string_view config_json, int64_t served_context) {
  absl::StatusOr<nlohmann::json> json = ParseStrictJson(config_json);
  if (!json.ok()) return Invalid(kFile, ": ", json.status().message());
  if (!json->is_object()) return Invalid(kFile, ": must be a JSON object");

  absl::Status status;
  KeyReader keys(*json, kFile, "", &status);
  ParsedConfig config;
  config.family = ReadFamily(keys);
  if (status.ok()) ReadModel(keys, served_context, &config);
  if (!status.ok()) return status;
  return config;
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view config_json, int64_t served_context) {
  absl::StatusOr<ParsedConfig> config = ParseConfig(config_json, served_context);
  if (!config.ok()) return config.status();
  return std::move(config->model);
}

}  // namespace latentd
