#include "engine/model/width_ladder.h"

#include <algorithm>

namespace latentd {
namespace {

constexpr size_t kSteps = 3;

// The rank `steps` below the full one, or the lowest.
int64_t Below(const std::vector<int64_t>& ranks, size_t steps) {
  return ranks.empty() ? 0 : ranks[ranks.size() - 1 - std::min(steps, ranks.size() - 1)];
}

}  // namespace

std::vector<Width> WidthLadder(const ModelConfig& config) {
  std::vector<Width> ladder = {config.full_width()};
  if (!config.elastic) return ladder;
  const ElasticConfig& elastic = *config.elastic;
  const size_t listed = std::max(elastic.q_lora_ranks.size(), elastic.kv_lora_ranks.size());
  for (size_t step = 1; step <= kSteps && step < listed; ++step) {
    ladder.push_back({Below(elastic.q_lora_ranks, step), Below(elastic.kv_lora_ranks, step)});
  }
  return ladder;
}

}  // namespace latentd
