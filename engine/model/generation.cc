#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "engine/model/config_parts.h"
#include "engine/model/strict_json.h"

namespace latentd {
namespace {

constexpr char kFile[] = "generation_config.json";
constexpr float kMaxFloat = std::numeric_limits<float>::max();

std::optional<float> ReadFloat(KeyReader& keys, const char* key, double min, double max) {
  const std::optional<double> value = keys.Number(key, min, max);
  if (!value.has_value()) return std::nullopt;
  return static_cast<float>(*value);
}

}  // namespace

std::vector<uint32_t> ReadEosIds(KeyReader& keys, int64_t vocab_size) {
  constexpr char kKey[] = "eos_token_id";
  if (!keys.Has(kKey)) return {};
  if (!keys.object()[kKey].is_array()) {
    return {static_cast<uint32_t>(keys.Int(kKey, 0, vocab_size - 1))};
  }
  const std::vector<int64_t> ids = keys.Ints(kKey, 0, vocab_size - 1);
  return {ids.begin(), ids.end()};
}

std::optional<uint32_t> ReadBosId(KeyReader& keys, int64_t vocab_size) {
  constexpr char kKey[] = "bos_token_id";
  if (!keys.Has(kKey)) return std::nullopt;
  return static_cast<uint32_t>(keys.Int(kKey, 0, vocab_size - 1));
}

// As vLLM reads it: sampling values count when they are there, do_sample does not.
absl::StatusOr<GenerationDefaults> ParseGenerationConfig(std::string_view json_text,
                                                         const ParsedConfig& config) {
  absl::StatusOr<nlohmann::json> json = ParseStrictJson(json_text);
  if (!json.ok()) return Invalid(kFile, ": ", json.status().message());
  if (!json->is_object()) return Invalid(kFile, ": must be a JSON object");

  absl::Status status;
  KeyReader keys(*json, kFile, "", &status);
  GenerationDefaults defaults;
  defaults.temperature = ReadFloat(keys, "temperature", 0, kMaxFloat);
  defaults.top_p = ReadFloat(keys, "top_p", 0, 1);
  defaults.min_p = ReadFloat(keys, "min_p", 0, 1);
  defaults.repetition_penalty = ReadFloat(keys, "repetition_penalty", 1e-6, kMaxFloat);
  if (keys.Has("top_k")) {
    defaults.top_k =
        static_cast<int32_t>(keys.Int("top_k", -1, std::numeric_limits<int32_t>::max()));
  }
  defaults.eos_token_ids = ReadEosIds(keys, config.model.vocab_size);
  defaults.bos_token_id = ReadBosId(keys, config.model.vocab_size);
  if (!status.ok()) return status;
  if (defaults.eos_token_ids.empty()) defaults.eos_token_ids = config.eos_token_ids;
  if (!defaults.bos_token_id.has_value()) defaults.bos_token_id = config.bos_token_id;
  return defaults;
}

}  // namespace latentd
