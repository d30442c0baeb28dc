#include "engine/model/inspect.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/model/cache_shape.h"
#include "engine/model/inspect_report.h"
#include "kernels/mla_attention.h"

namespace latentd {
namespace {

using Json = nlohmann::ordered_json;

std::string Text(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string CacheText(const ModelConfig& config, int64_t kv_rank, CacheFormat format) {
  const CacheCost cost = CacheCostOf(config, kv_rank, format);
  const PageShape shape = CacheShapeOf(config, format);
  std::string text =
      absl::StrCat("  kv rank ", kv_rank, ": ", cost.bytes_per_token,
                   " bytes per token (keys and values: ", cost.expanded_per_token, "); ");
  for (const int64_t gib : kMemoryGiB) {
    absl::StrAppend(&text, gib == kMemoryGiB[0] ? "" : ", ",
                    ContextThatFits(config, kv_rank, gib * kGiB, format), " tokens in ", gib,
                    " GiB");
  }
  if (shape.full_blocks > 1) {
    absl::StrAppend(&text, "; ", shape.blocks_per_page(shape.ClassOf(kv_rank)),
                    " blocks of 64 tokens a page");
  }
  return text + "\n";
}

}  // namespace

CacheCost CacheCostOf(const ModelConfig& config, int64_t kv_rank, CacheFormat format) {
  constexpr int64_t kBf16 = 2;
  const BlockLayout layout = BlockLayout::Make(config.num_layers, kv_rank, config.qk_rope_head_dim,
                                               config.num_alphas(), format);
  const int64_t expanded_units =
      config.num_kv_groups *
      (config.qk_nope_head_dim + config.qk_rope_head_dim + config.v_head_dim);
  CacheCost cost;
  cost.bytes_per_token = layout.bytes_per_token;
  cost.bytes_per_block = layout.block_bytes;
  cost.expanded_per_token = config.num_layers * kBf16 * expanded_units;
  return cost;
}

int64_t ContextThatFits(const ModelConfig& config, int64_t kv_rank, int64_t cache_bytes,
                        CacheFormat format) {
  const PageShape shape = CacheShapeOf(config, format);
  const int64_t num_pages = cache_bytes / shape.page_bytes();
  return num_pages * shape.blocks_per_page(shape.ClassOf(kv_rank)) * kBlockTokens;
}

nlohmann::json InspectJson(const Model& model, int64_t memory_bytes) {
  return nlohmann::json(InspectReport(model, memory_bytes));
}

std::string InspectText(const Model& model, int64_t memory_bytes) {
  const Json report = InspectReport(model, memory_bytes);
  const auto group = [&report](const char* key) {
    if (!report.contains(key)) return std::string();
    std::string text = absl::StrCat(key, "\n");
    for (const auto& item : report[key].items()) {
      absl::StrAppend(&text, "  ", item.key(), ": ", Text(item.value()), "\n");
    }
    return text;
  };
  std::string text = absl::StrCat(
      "family: ", model.config.family, "\nparameters: ", model.weights.num_parameters, " (",
      Text(report["active_parameters"]), " active)\nweights: ", model.weights.num_bytes, " bytes, ",
      Text(report["weight_format"]), "\n", group("bytes_by_dtype"), group("geometry"),
      group("rope"), group("experts"));
  const auto cache_text = [&](const std::vector<int64_t>& ranks) {
    for (const CacheFormat format : {CacheFormat::kBf16, CacheFormat::kInt8}) {
      absl::StrAppend(&text, "cache (", format == CacheFormat::kBf16 ? "bf16" : "int8", ")\n");
      for (const int64_t rank : ranks) {
        absl::StrAppend(&text, CacheText(model.config, rank, format));
      }
    }
  };
  cache_text({model.config.kv_lora_rank});
  if (model.config.elastic.has_value()) {
    const ElasticConfig& elastic = *model.config.elastic;
    absl::StrAppend(&text, "elastic (", elastic.continuous ? "any rank" : "listed ranks",
                    elastic.mlp_follows ? ", MLP follows" : "",
                    ")\n  q ranks: ", absl::StrJoin(elastic.q_lora_ranks, ", "), "\n");
    cache_text(elastic.kv_lora_ranks);
  }
  absl::StrAppend(&text, group("memory"));
  for (const std::string& note : model.notes) absl::StrAppend(&text, "note: ", note, "\n");
  return text;
}

}  // namespace latentd
