// quantization_config of config.json: what the folder's quantised matrices look like.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/model/config_parts.h"

namespace latentd {
namespace {

// Faults a key that is there with any other value.
void RequireString(KeyReader& keys, const char* key, const char* wanted) {
  if (keys.StringOr(key, wanted) != wanted) {
    keys.Fail(key, absl::StrCat(keys.Text(key), " is not supported (", wanted, ")"));
  }
}

// Faults a key unless it is absent, null, false or empty.
void RequireOff(KeyReader& keys, const char* key) {
  if (!keys.Has(key)) return;
  const nlohmann::json& value = keys.object()[key];
  const bool is_off =
      (value.is_boolean() && !value.get<bool>()) || (value.is_structured() && value.empty());
  if (!is_off) keys.Fail(key, absl::StrCat(keys.Text(key), " is not supported"));
}

// DeepSeek's: e4m3 with one fp32 scale for every 128 × 128 elements. What the config says about
// activations is left alone: they are not quantised here, which is closer to the truth.
WeightQuantisation ReadFp8(KeyReader& keys) {
  constexpr int64_t kBlock = 128;
  RequireString(keys, "fmt", "e4m3");
  RequireString(keys, "activation_scheme", "dynamic");
  const std::vector<int64_t> block = keys.Ints("weight_block_size", 1, kMaxUnits);
  if (block != std::vector<int64_t>{kBlock, kBlock}) {
    keys.Fail("weight_block_size", "must be [128, 128]");
  }
  return {.dtype = DType::kE4M3, .block_rows = kBlock, .block_cols = kBlock};
}

// The one group of compressed-tensors: symmetric int4 along the rows.
int64_t ReadGroup(KeyReader& group) {
  constexpr std::array<int64_t, 3> kSizes{32, 64, 128};
  RequireOff(group, "input_activations");
  RequireOff(group, "output_activations");
  std::optional<KeyReader> weights = group.Object("weights");
  if (!weights.has_value()) {
    group.Fail("weights", "is missing; it must say how weights are quantised");
    return 1;
  }
  RequireString(*weights, "type", "int");
  RequireString(*weights, "strategy", "group");
  RequireOff(*weights, "dynamic");
  RequireOff(*weights, "actorder");
  if (weights->Int("num_bits", 1, 64) != 4) {
    weights->Fail("num_bits", absl::StrCat(weights->Text("num_bits"), " is not supported (4)"));
  }
  if (!weights->BoolOr("symmetric", true)) weights->Fail("symmetric", "must be true");
  const int64_t size = weights->Int("group_size", -1, kMaxUnits);
  if (std::find(kSizes.begin(), kSizes.end(), size) == kSizes.end()) {
    weights->Fail("group_size", absl::StrCat(size, " is not supported (32, 64, 128)"));
    return 1;
  }
  return size;
}

WeightQuantisation ReadCompressedTensors(KeyReader& keys) {
  WeightQuantisation result{.dtype = DType::kInt4};
  RequireString(keys, "format", "pack-quantized");
  for (const char* key : {"kv_cache_scheme", "sparsity_config", "transform_config"}) {
    RequireOff(keys, key);
  }
  std::optional<KeyReader> groups = keys.Object("config_groups");
  if (!groups.has_value() || groups->object().size() != 1) {
    keys.Fail("config_groups", "must be an object with one group");
    return result;
  }
  const std::string name = groups->object().begin().key();
  std::optional<KeyReader> group = groups->Object(name.c_str());
  if (group.has_value()) result.block_cols = ReadGroup(*group);
  if (groups->IsNull(name.c_str())) groups->Fail(name.c_str(), "must be an object");
  return result;
}

}  // namespace

std::optional<WeightQuantisation> ReadQuantisation(KeyReader& keys) {
  std::optional<KeyReader> section = keys.Object("quantization_config");
  if (!section.has_value()) return std::nullopt;
  if (keys.Has("elastic")) {
    keys.Fail("quantization_config", "is not supported together with elastic");
  }
  const std::string method = section->String("quant_method");
  if (method == "fp8") return ReadFp8(*section);
  if (method == "compressed-tensors") return ReadCompressedTensors(*section);
  section->Fail("quant_method", absl::StrCat(section->Text("quant_method"),
                                             " is not supported (fp8, compressed-tensors)"));
  return std::nullopt;
}

}  // namespace latentd
