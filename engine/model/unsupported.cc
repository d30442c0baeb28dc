#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/match.h"
#include "engine/model/config_parts.h"

namespace latentd {
namespace {

// Keys whose presence (not null, not false) changes the computation.
constexpr std::array<const char*, 15> kUnsupported{
    "compression_config",     "sliding_window",
    "use_sliding_window",     "index_topk",
    "index_n_heads",          "index_head_dim",
    "indexer_types",          "mlp_bias",
    "attn_logit_softcapping", "final_logit_softcapping",
    "mla_use_nope",           "mla_use_output_gate",
    "llama_4_scaling_beta",   "linear_attn_config",
    "layer_group_size",
};

// What a key asks for, where its name does not say.
std::string FeatureOf(absl::string_view key) {
  if (absl::StartsWith(key, "index")) return ": sparse attention with a DSA indexer";
  if (key == "linear_attn_config" || key == "layer_group_size") return ": linear-attention layers";
  return "";
}

bool IsOff(const nlohmann::json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>());
}

// A list with one word a layer; layer i must have the word that `expected` says.
template <typename Expected>
void CheckLayerWords(KeyReader& keys, const char* key, int64_t num_layers, Expected expected) {
  if (!keys.Has(key)) return;
  const nlohmann::json& words = keys.object()[key];
  if (!words.is_array() || words.size() < static_cast<size_t>(num_layers)) {
    keys.Fail(key, absl::StrCat("must be a list of ", num_layers, " words"));
    return;
  }
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    if (words[static_cast<size_t>(layer)] != expected(layer)) {
      keys.Fail(key, absl::StrCat("is not supported: layer ", layer, " must be \"", expected(layer),
                                  "\""));
      return;
    }
  }
}

}  // namespace

void RefuseUnsupported(KeyReader& keys, const ModelConfig& model) {
  for (const char* key : kUnsupported) {
    if (keys.Has(key) && !IsOff(keys.object()[key])) {
      keys.Fail(key, absl::StrCat("is not supported", FeatureOf(key)));
    }
  }
  if (keys.NumberOr("partial_rotary_factor", 0, 1e3, 1) != 1) {
    keys.Fail("partial_rotary_factor", "other than 1 is not supported");
  }
  for (const char* key : {"hidden_act", "hidden_activation"}) {
    if (keys.StringOr(key, "silu") != "silu") {
      keys.Fail(key, absl::StrCat(keys.Text(key), " is not supported (silu)"));
    }
  }
  if (!keys.ok()) return;
  CheckLayerWords(keys, "layer_types", model.num_layers, [](int64_t) { return "full_attention"; });
  CheckLayerWords(keys, "mlp_layer_types", model.num_layers, [&model](int64_t layer) {
    return model.is_moe_layer(layer) ? "sparse" : "dense";
  });
}

}  // namespace latentd
