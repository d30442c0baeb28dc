#include "kernels/moe_router.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/check.h"
#include "kernels/core/rows.h"
#include "kernels/core/scratch.h"

namespace latentd {
namespace {

// Per-row working memory: scores and choice values of the experts, and what was taken.
struct RowScratch {
  float* scores;   // [E]
  float* choice;   // [E] scores + bias
  float* groups;   // [num_groups]
  bool* eligible;  // [E]
  bool* group_open;
};

void Scores(RouterScore kind, const float* logits, int64_t count, float* scores) {
  if (kind == RouterScore::kSigmoid) {
    for (int64_t e = 0; e < count; ++e) scores[e] = 1 / (1 + std::exp(-logits[e]));
    return;
  }
  const float largest = *std::max_element(logits, logits + count);
  float sum = 0;
  for (int64_t e = 0; e < count; ++e) {
    scores[e] = std::exp(logits[e] - largest);
    sum += scores[e];
  }
  for (int64_t e = 0; e < count; ++e) scores[e] /= sum;
}

float ScoreOfGroup(GroupScore kind, const float* choice, int64_t size) {
  float first = -std::numeric_limits<float>::infinity();
  float second = first;
  for (int64_t e = 0; e < size; ++e) {
    if (choice[e] > first) {
      second = first;
      first = choice[e];
    } else if (choice[e] > second) {
      second = choice[e];
    }
  }
  return kind == GroupScore::kMax || size == 1 ? first : first + second;
}

// Index of the largest value among those with candidate[i], the lowest on a tie. NaN loses to all,
// but some candidate is always returned.
int64_t ArgMax(const float* values, const bool* candidate, int64_t count) {
  int64_t best = -1;
  for (int64_t i = 0; i < count; ++i) {
    if (!candidate[i]) continue;
    if (best < 0 || values[i] > values[best] ||
        (std::isnan(values[best]) && !std::isnan(values[i]))) {
      best = i;
    }
  }
  return best;
}

// Leaves eligible[e] true for the experts of the best groups.
void KeepBestGroups(const RouterConfig& config, const RowScratch& row) {
  std::fill_n(row.eligible, config.num_experts, config.top_groups >= config.num_groups);
  if (config.top_groups >= config.num_groups) return;
  const int64_t size = config.num_experts / config.num_groups;
  for (int64_t g = 0; g < config.num_groups; ++g) {
    row.groups[g] = ScoreOfGroup(config.group_score, row.choice + g * size, size);
    row.group_open[g] = true;
  }
  for (int64_t i = 0; i < config.top_groups; ++i) {
    const int64_t g = ArgMax(row.groups, row.group_open, config.num_groups);
    row.group_open[g] = false;
    std::fill_n(row.eligible + g * size, size, true);
  }
}

void RouteRow(const RouterConfig& config, const float* logits, const float* bias,
              const RowScratch& row, int32_t* experts, float* weights) {
  Scores(config.score, logits, config.num_experts, row.scores);
  for (int64_t e = 0; e < config.num_experts; ++e) {
    row.choice[e] = bias != nullptr ? row.scores[e] + bias[e] : row.scores[e];
  }
  KeepBestGroups(config, row);
  for (int64_t i = 0; i < config.top_k; ++i) {
    const int64_t e = ArgMax(row.choice, row.eligible, config.num_experts);
    row.eligible[e] = false;
    experts[i] = static_cast<int32_t>(e);
  }
  std::sort(experts, experts + config.top_k);
  float sum = 0;
  for (int64_t i = 0; i < config.top_k; ++i) sum += row.scores[experts[i]];
  for (int64_t i = 0; i < config.top_k; ++i) {
    const float score = row.scores[experts[i]];
    weights[i] = (config.norm_top_k ? score / (sum + 1e-20f) : score) * config.routed_scale;
  }
}

}  // namespace

void RouteExperts(const Context& context, const RouterConfig& config,
                  MatrixView<const float> logits, const float* bias, MatrixView<int32_t> experts,
                  MatrixView<float> weights) {
  const int64_t num_experts = config.num_experts;
  LATENTD_CHECK(logits.cols == num_experts && experts.rows == logits.rows &&
                weights.rows == logits.rows);
  LATENTD_CHECK(experts.cols == config.top_k && weights.cols == config.top_k);
  LATENTD_CHECK(config.num_groups >= 1 && num_experts % config.num_groups == 0);
  LATENTD_CHECK(config.top_groups >= 1 && config.top_groups <= config.num_groups);
  LATENTD_CHECK(config.top_k >= 1 &&
                config.top_k <= num_experts / config.num_groups * config.top_groups);
  ForEachRow(context, logits.rows, num_experts * 8, [&](int64_t i) {
    thread_local Scratch floats;
    thread_local Scratch flags;
    float* scores = floats.GetArray<float>(2 * num_experts + config.num_groups);
    bool* eligible = flags.GetArray<bool>(num_experts + config.num_groups);
    const RowScratch row = {.scores = scores,
                            .choice = scores + num_experts,
                            .groups = scores + 2 * num_experts,
                            .eligible = eligible,
                            .group_open = eligible + num_experts};
    RouteRow(config, logits.row(i), bias, row, experts.row(i), weights.row(i));
  });
}

}  // namespace latentd
