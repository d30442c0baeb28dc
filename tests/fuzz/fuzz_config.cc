// Input: config.json, or with a first byte of '~' generation_config.json of a fixed small model.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/model/config_parts.h"
#include "engine/model/loader.h"

namespace {

void CheckAccepted(const latentd::ModelConfig& model) {
  if (model.num_heads % model.num_kv_groups != 0) std::abort();
  if (model.rope.inv_freq.size() * 2 != static_cast<size_t>(model.qk_rope_head_dim)) std::abort();
  if (!std::isfinite(model.softmax_scale) || !(model.softmax_scale > 0)) std::abort();
  for (const double frequency : model.rope.inv_freq) {
    if (!std::isfinite(frequency)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  if (!text.empty() && text.front() == '~') {
    text.remove_prefix(1);
    latentd::ParsedConfig config;
    config.model.vocab_size = 1000;
    const auto generation = latentd::ParseGenerationConfig(text, config);
    if (!generation.ok()) return 0;
    for (const uint32_t id : generation->eos_token_ids) {
      if (id >= 1000) std::abort();
    }
    return 0;
  }
  const auto config = latentd::ParseModelConfig(text);
  if (config.ok()) CheckAccepted(*config);
  return 0;
}
