// The sections of config.json that have readers of their own, and what loading needs beside
// ModelConfig.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/model/config.h"
#include "engine/model/families.h"
#include "engine/model/key_reader.h"
#include "engine/model/loader.h"
#include "kernels/core/dtype.h"

namespace latentd {

constexpr int64_t kMaxUnits = int64_t{1} << 31;  // widths and vocabularies
constexpr int64_t kMaxSmall = int64_t{1} << 16;  // heads, layers, experts, head dimensions

// How a folder stores the matrices that it quantises: which they are, the tensors themselves say.
struct WeightQuantisation {
  DType dtype = DType::kE4M3;  // kE4M3 or kInt4
  int64_t block_rows = 1;      // elements that share a scale
  int64_t block_cols = 1;
};

// Everything that config.json says.
struct ParsedConfig {
  ModelConfig model;
  const Family* family = nullptr;   // static
  std::optional<KeyNorm> key_norm;  // as declared; model.key_norm is kNone when absent
  double q_latent_scale = 1;   // σ_q and σ_kv of latent-attention.md section 2, folded into the
  double kv_latent_scale = 1;  // latent norms' weights
  double logit_scale = 1;      // folded into the last norm's weight
  int64_t num_mtp_layers = 0;
  std::optional<WeightQuantisation> quantisation;
  std::vector<uint32_t> eos_token_ids;
  std::optional<uint32_t> bos_token_id;
};
// served_context: tokens; 0: the model's own. See LoadModel.
absl::StatusOr<ParsedConfig> ParseConfig(std::string_view config_json, int64_t served_context);

// Empty for a model without expert layers. Sets no field of the config.
std::optional<MoeConfig> ReadMoe(KeyReader& keys, const Family& family, int64_t num_layers);

// Empty without the key `elastic`. Ranks are the full ones.
std::optional<ElasticConfig> ReadElastic(KeyReader& keys, int64_t q_lora_rank,
                                         int64_t kv_lora_rank);

// Empty without the key `quantization_config`; faults every form of it but DeepSeek's fp8 and
// compressed-tensors' packed int4.
std::optional<WeightQuantisation> ReadQuantisation(KeyReader& keys);

// Faults the keys that would change the result and that no code here computes.
void RefuseUnsupported(KeyReader& keys, const ModelConfig& model);

// eos_token_id (an id, a list or null) and bos_token_id, below vocab_size.
std::vector<uint32_t> ReadEosIds(KeyReader& keys, int64_t vocab_size);
std::optional<uint32_t> ReadBosId(KeyReader& keys, int64_t vocab_size);

// generation_config.json; what it leaves out of the ids comes from config.json.
absl::StatusOr<GenerationDefaults> ParseGenerationConfig(std::string_view json_text,
                                                         const ParsedConfig& config);

}  // namespace latentd
