#include "engine/model/weights.h"

#include <utility>

#include "absl/strings/match.h"
#include "engine/model/message.h"
#include "engine/model/read_weights.h"
#include "engine/model/tensor_names.h"
#include "engine/model/weight_reader.h"

namespace latentd {
namespace {

MlpWeights ReadMlp(WeightReader& reader, const std::string& prefix, int64_t units, int64_t hidden) {
  MlpWeights mlp;
  mlp.gate = reader.Matrix(prefix + "gate_proj.weight", units, hidden);
  mlp.up = reader.Matrix(prefix + "up_proj.weight", units, hidden);
  mlp.down = reader.Matrix(prefix + "down_proj.weight", hidden, units);
  return mlp;
}

// gate_up_proj [E, 2·units, d] holds an expert's gate rows, then its up rows; down_proj [E, d,
// units]. Identity experts follow in the former with rows that nothing uses, but not in the latter.
std::vector<MlpWeights> ReadFusedExperts(WeightReader& reader, const std::string& prefix,
                                         int64_t routed, int64_t count, int64_t units,
                                         int64_t hidden) {
  const std::vector<WeightView> gate_up =
      reader.Matrices(prefix + "gate_up_proj", routed, 2 * units, hidden);
  const std::vector<WeightView> down = reader.Matrices(prefix + "down_proj", count, hidden, units);
  std::vector<MlpWeights> experts;
  for (size_t e = 0; e < gate_up.size() && e < down.size(); ++e) {
    experts.push_back({gate_up[e].Rows(0, units), gate_up[e].Rows(units, units), down[e]});
  }
  return experts;
}

void ReadExperts(WeightReader& reader, const LayerNames& names, const ModelConfig& model,
                 LayerWeights* layer) {
  const MoeConfig& moe = *model.moe;
  const int64_t routed = moe.router.num_experts;
  const int64_t count = moe.num_weighted();
  const int64_t units = moe.expert_intermediate_size;
  const int64_t hidden = model.hidden_size;
  layer->router_weight = reader.MatrixCopy(names.router_weight, routed, hidden);
  if (moe.has_selection_bias) {
    layer->router_bias = reader.Vector(names.router + "e_score_correction_bias", routed);
  }
  if (moe.shared_intermediate_size > 0) {
    layer->shared_expert =
        ReadMlp(reader, names.shared_expert, moe.shared_intermediate_size, hidden);
  }
  const std::string& experts = names.experts;
  if (reader.Has(experts + "gate_up_proj")) {
    layer->experts = ReadFusedExperts(reader, experts, routed, count, units, hidden);
    return;
  }
  for (int64_t e = 0; e < count && !reader.HasGivenUp(); ++e) {
    layer->experts.push_back(ReadMlp(reader, absl::StrCat(experts, e, "."), units, hidden));
  }
}

void ReadKeyNorms(WeightReader& reader, const std::string& prefix, const ModelConfig& model,
                  LayerWeights* layer) {
  const int64_t content = model.qk_nope_head_dim;
  const int64_t rope = model.qk_rope_head_dim;
  if (model.key_norm == KeyNorm::kBlockwise) {
    layer->q_content_norm = reader.Vector(prefix + "q_content_norm.weight", content);
    layer->k_content_norm = reader.Vector(prefix + "k_content_norm.weight", content);
    if (rope == 0) return;
    layer->q_rope_norm = reader.Vector(prefix + "q_rope_norm.weight", rope);
    layer->k_rope_norm = reader.Vector(prefix + "k_rope_norm.weight", rope);
  }
  if (model.key_norm == KeyNorm::kUnified) {
    const auto split = [&](const std::string& name, std::vector<float>* first,
                           std::vector<float>* rest) {
      std::vector<float> both = reader.Vector(prefix + name, content + rope);
      if (both.empty()) return;
      rest->assign(both.begin() + content, both.end());
      both.resize(static_cast<size_t>(content));
      *first = std::move(both);
    };
    split("q_norm.weight", &layer->q_content_norm, &layer->q_rope_norm);
    split("k_norm.weight", &layer->k_content_norm, &layer->k_rope_norm);
  }
}

void ReadAttention(WeightReader& reader, const std::string& prefix, const ParsedConfig& config,
                   LayerWeights* layer) {
  const ModelConfig& model = config.model;
  const int64_t hidden = model.hidden_size;
  const int64_t rope = model.qk_rope_head_dim;
  const int64_t query_rows = model.num_heads * (model.qk_nope_head_dim + rope);
  const int64_t expanded_rows = model.num_kv_groups * (model.qk_nope_head_dim + model.v_head_dim);
  const int64_t rank = model.kv_lora_rank;
  const auto bias = [&](const char* name, int64_t size) {
    return model.attention_bias ? reader.Vector(prefix + name, size) : std::vector<float>();
  };
  if (model.q_lora_rank == 0) {
    layer->q_proj = reader.Matrix(prefix + "q_proj.weight", query_rows, hidden);
  } else {
    layer->q_a_proj = reader.Matrix(prefix + "q_a_proj.weight", model.q_lora_rank, hidden);
    layer->q_a_bias = bias("q_a_proj.bias", model.q_lora_rank);
    layer->q_a_norm =
        reader.Vector(prefix + "q_a_layernorm.weight", model.q_lora_rank, config.q_latent_scale);
    layer->q_b_proj = reader.Matrix(prefix + "q_b_proj.weight", query_rows, model.q_lora_rank);
  }
  layer->kv_a_proj = reader.Matrix(prefix + "kv_a_proj_with_mqa.weight", rank + rope, hidden);
  layer->kv_a_bias = bias("kv_a_proj_with_mqa.bias", rank + rope);
  layer->kv_a_norm = reader.Vector(prefix + "kv_a_layernorm.weight", rank, config.kv_latent_scale);
  layer->kv_b_proj = reader.DenseMatrix(prefix + "kv_b_proj.weight", expanded_rows, rank);
  layer->o_proj =
      reader.Matrix(prefix + "o_proj.weight", hidden, model.num_heads * model.v_head_dim);
  layer->o_bias = bias("o_proj.bias", hidden);
  ReadKeyNorms(reader, prefix, model, layer);
}

LayerWeights ReadLayer(WeightReader& reader, int64_t index, const ParsedConfig& config) {
  const ModelConfig& model = config.model;
  const LayerNames names = NamesOfLayer(*config.family, index);
  LayerWeights layer;
  layer.input_norm = reader.Vector(names.input_norm, model.hidden_size);
  layer.post_attention_norm = reader.Vector(names.post_attention_norm, model.hidden_size);
  ReadAttention(reader, names.attention, config, &layer);
  const bool is_moe = model.is_moe_layer(index);
  if (is_moe || model.starts_shortcut(index)) ReadExperts(reader, names, model, &layer);
  if (!is_moe) layer.mlp = ReadMlp(reader, names.mlp, model.intermediate_size, model.hidden_size);
  return layer;
}

// Derived buffers that old checkpoints carry, and a head that the embedding replaces.
bool IsIgnored(std::string_view name, const ParsedConfig& config) {
  return IsMtpTensor(name, config) || absl::EndsWith(View(name), "rotary_emb.inv_freq") ||
         (config.model.tie_word_embeddings && name == "lm_head.weight");
}

void NoteIgnored(const Checkpoint& checkpoint, const ParsedConfig& config,
                 std::vector<std::string>* notes) {
  int64_t num_mtp = 0;
  for (const auto& [name, tensor] : checkpoint.tensors())
    num_mtp += IsMtpTensor(name, config) ? 1 : 0;
  if (num_mtp > 0) {
    notes->push_back(
        absl::StrCat(num_mtp, " tensors of multi-token prediction layers are not used"));
  }
  if (config.model.tie_word_embeddings && checkpoint.Find("lm_head.weight") != nullptr) {
    notes->push_back(
        "lm_head.weight is not used: the embedding takes its place (tie_word_embeddings)");
  }
}

std::string Describe(const WeightQuantisation& format) {
  return format.dtype == DType::kE4M3
             ? absl::StrCat("fp8 (e4m3) in blocks of ", format.block_rows, " x ", format.block_cols)
             : absl::StrCat("int4 in groups of ", format.block_cols);
}

}  // namespace

absl::StatusOr<KeyNorm> InferKeyNorm(const Checkpoint& checkpoint, const ParsedConfig& config) {
  const std::string prefix = NamesOfLayer(*config.family, 0).attention;
  const bool blockwise = checkpoint.Find(prefix + "k_content_norm.weight") != nullptr;
  const bool unified = checkpoint.Find(prefix + "k_norm.weight") != nullptr;
  if (blockwise && unified) {
    return Invalid(Printable(checkpoint.label()), ": has both ", prefix,
                   "k_content_norm.weight and ", prefix,
                   "k_norm.weight, so qk_norm cannot be told");
  }
  const KeyNorm found = blockwise ? KeyNorm::kBlockwise
                        : unified ? KeyNorm::kUnified
                                  : KeyNorm::kNone;
  if (config.key_norm.value_or(found) == found) return found;
  const char* tensor = blockwise ? "k_content_norm.weight" : unified ? "k_norm.weight" : "neither";
  return Invalid("config.json: qk_norm contradicts the tensors: of ", prefix,
                 "k_content_norm.weight (blockwise) and k_norm.weight (unified), ",
                 Printable(checkpoint.label()), " has ", tensor);
}

absl::StatusOr<Weights> ReadWeights(std::shared_ptr<const Checkpoint> checkpoint,
                                    const ParsedConfig& config, const LoadOptions& options,
                                    std::vector<std::string>* notes) {
  const ModelConfig& model = config.model;
  WeightReader reader(checkpoint,
                      {.quantisation = config.quantisation, .describe_only = options.describe_only},
                      options.progress);
  Weights weights;
  weights.embedding =
      reader.PlainMatrix("model.embed_tokens.weight", model.vocab_size, model.hidden_size);
  weights.lm_head = model.tie_word_embeddings
                        ? weights.embedding
                        : reader.Matrix("lm_head.weight", model.vocab_size, model.hidden_size);
  weights.final_norm = reader.Vector("model.norm.weight", model.hidden_size, config.logit_scale);
  for (int64_t i = 0; i < model.num_layers && !reader.HasGivenUp(); ++i) {
    weights.layers.push_back(ReadLayer(reader, i, config));
  }
  absl::Status status =
      reader.Finish([&config](std::string_view name) { return IsIgnored(name, config); });
  if (!status.ok()) return status;
  NoteIgnored(*checkpoint, config, notes);
  weights.num_parameters = reader.num_parameters();
  weights.num_bytes = reader.num_bytes();
  weights.bytes_by_dtype = reader.bytes_by_dtype();
  weights.quantisation = config.quantisation.has_value() ? Describe(*config.quantisation) : "";
  weights.files = reader.storage();
  return weights;
}

}  // namespace latentd
