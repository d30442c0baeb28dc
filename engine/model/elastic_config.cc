#include <algorithm>
#include <string>
#include <vector>

#include "engine/model/config_parts.h"

namespace latentd {
namespace {

// Ascending ranks that end with the full one. Absent: the full one alone.
std::vector<int64_t> ReadRanks(KeyReader& elastic, const char* key, int64_t full_rank,
                               const char* full_key) {
  if (!elastic.Has(key)) return {full_rank};
  std::vector<int64_t> ranks = elastic.Ints(key, 1, full_rank);
  if (!elastic.ok()) return {full_rank};
  for (size_t i = 1; i < ranks.size(); ++i) {
    if (ranks[i] <= ranks[i - 1]) {
      elastic.Fail(key, absl::StrCat("must ascend, but ", ranks[i], " follows ", ranks[i - 1]));
    }
  }
  if (ranks.empty() || ranks.back() != full_rank) {
    elastic.Fail(key, absl::StrCat("must end with ", full_key, " ", full_rank));
  }
  return ranks;
}

}  // namespace

bool AllowsRank(int64_t rank, int64_t full, const std::vector<int64_t>& listed, bool continuous) {
  if (rank == full) return true;
  if (continuous) return rank >= 1 && rank < full;
  return std::find(listed.begin(), listed.end(), rank) != listed.end();
}

bool ModelConfig::Allows(const Width& width) const {
  if (!elastic) return width == full_width();
  return AllowsRank(width.q, q_lora_rank, elastic->q_lora_ranks, elastic->continuous) &&
         AllowsRank(width.kv, kv_lora_rank, elastic->kv_lora_ranks, elastic->continuous);
}

int64_t ModelConfig::MlpUnits(const Width& width) const {
  if (!elastic || !elastic->mlp_follows) return intermediate_size;
  return std::min(intermediate_size, 4 * std::max(width.q, width.kv));
}

std::optional<ElasticConfig> ReadElastic(KeyReader& keys, int64_t q_lora_rank,
                                         int64_t kv_lora_rank) {
  std::optional<KeyReader> elastic = keys.Object("elastic");
  if (!elastic.has_value()) return std::nullopt;
  elastic->RefuseOthers({"q_lora_ranks", "kv_lora_ranks", "mlp", "continuous"});

  ElasticConfig config;
  if (q_lora_rank > 0) {
    config.q_lora_ranks = ReadRanks(*elastic, "q_lora_ranks", q_lora_rank, "q_lora_rank");
  } else if (elastic->Has("q_lora_ranks")) {
    elastic->Fail("q_lora_ranks", "needs a model with q_lora_rank");
  }
  config.kv_lora_ranks = ReadRanks(*elastic, "kv_lora_ranks", kv_lora_rank, "kv_lora_rank");
  config.continuous = elastic->BoolOr("continuous", false);
  constexpr char kMlpRule[] = "4*max(q,kv)";
  config.mlp_follows = elastic->Has("mlp");
  if (elastic->StringOr("mlp", kMlpRule) != kMlpRule) {
    elastic->Fail("mlp",
                  absl::StrCat("must be \"", kMlpRule, "\" or absent, not ", elastic->Text("mlp")));
  }
  return config;
}

}  // namespace latentd
