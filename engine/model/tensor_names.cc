#include "engine/model/tensor_names.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "engine/model/message.h"

namespace latentd {
namespace {

constexpr char kLayers[] = "model.layers.";

// The layer that a tensor belongs to by its name, or −1.
int64_t LayerOf(std::string_view name) {
  absl::string_view rest = View(name);
  if (!absl::StartsWith(rest, kLayers)) return -1;
  rest.remove_prefix(sizeof(kLayers) - 1);
  int64_t layer = -1;
  return absl::SimpleAtoi(rest.substr(0, rest.find('.')), &layer) ? layer : -1;
}

}  // namespace

LayerNames NamesOfLayer(const Family& family, int64_t layer) {
  if (family.has_double_layers) {
    const std::string prefix = absl::StrCat(kLayers, layer / 2, ".");
    const std::string half = absl::StrCat(".", layer % 2);
    return {
        .input_norm = absl::StrCat(prefix, "input_layernorm", half, ".weight"),
        .post_attention_norm = absl::StrCat(prefix, "post_attention_layernorm", half, ".weight"),
        .attention = absl::StrCat(prefix, "self_attn", half, "."),
        .mlp = absl::StrCat(prefix, "mlps", half, "."),
        .router = prefix + "mlp.router.",
        .router_weight = prefix + "mlp.router.classifier.weight",
        .experts = prefix + "mlp.experts.",
        .shared_expert = prefix + "mlp.shared_experts."};
  }
  const std::string prefix = absl::StrCat(kLayers, layer, ".");
  return {.input_norm = prefix + "input_layernorm.weight",
          .post_attention_norm = prefix + "post_attention_layernorm.weight",
          .attention = prefix + "self_attn.",
          .mlp = prefix + "mlp.",
          .router = prefix + "mlp.gate.",
          .router_weight = prefix + "mlp.gate.weight",
          .experts = prefix + "mlp.experts.",
          .shared_expert = prefix + "mlp.shared_experts."};
}

bool IsMtpTensor(std::string_view name, const ParsedConfig& config) {
  const std::string_view prefix = config.family->mtp_prefix;
  if (!prefix.empty()) return absl::StartsWith(View(name), View(prefix));
  const int64_t layer = LayerOf(name);
  return layer >= config.model.num_layers &&
         layer < config.model.num_layers + config.num_mtp_layers;
}

}  // namespace latentd
