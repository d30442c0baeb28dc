// Expert selection against a brute force that tries every set of experts.
#include "kernels/moe_router.h"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/core/thread_pool.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Routed Route(const Context& context, const RouterConfig& config, const std::vector<float>& logits,
             const float* bias) {
  const int64_t rows = static_cast<int64_t>(logits.size()) / config.num_experts;
  Routed out = {std::vector<int32_t>(rows * config.top_k, -1),
                std::vector<float>(rows * config.top_k)};
  RouteExperts(context, config, View(logits, rows, config.num_experts), bias,
               {out.experts.data(), rows, config.top_k, config.top_k},
               View(out.weights, rows, config.top_k));
  return out;
}

std::vector<float> Scores(const RouterConfig& config, const float* logits) {
  std::vector<float> scores(config.num_experts);
  float sum = 0;
  const float largest = *std::max_element(logits, logits + config.num_experts);
  for (int64_t e = 0; e < config.num_experts; ++e) {
    scores[e] = config.score == RouterScore::kSigmoid ? 1 / (1 + std::exp(-logits[e]))
                                                      : std::exp(logits[e] - largest);
    sum += scores[e];
  }
  if (config.score == RouterScore::kSoftmax) {
    for (float& score : scores) score /= sum;
  }
  return scores;
}

// A set is better when its members, best first, have larger values; on equal values, lower indices.
// Comparing whole sets needs no notion of "take the best, then the next".
using Ranked = std::vector<std::pair<float, int>>;  // (−value, index), sorted

Ranked Rank(const std::vector<float>& values, uint32_t set) {
  Ranked ranked;
  for (size_t i = 0; i < values.size(); ++i) {
    if ((set >> i & 1) != 0) ranked.emplace_back(-values[i], static_cast<int>(i));
  }
  std::sort(ranked.begin(), ranked.end());
  return ranked;
}

// The best set of `count` among the indices in `allowed`.
uint32_t BestSet(const std::vector<float>& values, int64_t count, uint32_t allowed) {
  uint32_t best = 0;
  for (uint32_t set = 0; set < 1u << values.size(); ++set) {
    if (std::popcount(set) != count || (set & ~allowed) != 0) continue;
    if (best == 0 || Rank(values, set) < Rank(values, best)) best = set;
  }
  return best;
}

std::vector<int32_t> BruteForce(const RouterConfig& config, const float* logits,
                                const float* bias) {
  std::vector<float> values = Scores(config, logits);
  for (int64_t e = 0; bias != nullptr && e < config.num_experts; ++e) values[e] += bias[e];
  const int64_t size = config.num_experts / config.num_groups;
  std::vector<float> groups(config.num_groups);
  for (int64_t g = 0; g < config.num_groups; ++g) {
    std::vector<float> members(values.begin() + g * size, values.begin() + (g + 1) * size);
    std::sort(members.begin(), members.end(), std::greater<>());
    groups[g] =
        config.group_score == GroupScore::kMax || size == 1 ? members[0] : members[0] + members[1];
  }
  const uint32_t best_groups = BestSet(groups, config.top_groups, (1u << config.num_groups) - 1);
  uint32_t allowed = 0;
  for (int64_t e = 0; e < config.num_experts; ++e) {
    if ((best_groups >> (e / size) & 1) != 0) allowed |= 1u << e;
  }
  const uint32_t set = BestSet(values, config.top_k, allowed);
  std::vector<int32_t> experts;
  for (int32_t e = 0; e < config.num_experts; ++e) {
    if ((set >> e & 1) != 0) experts.push_back(e);
  }
  return experts;
}

TEST_CASE("routing equals brute force, ties and bias included") {
  std::mt19937 rng(1);
  ThreadPool two(2);
  for (const RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    for (const GroupScore group_score : {GroupScore::kMax, GroupScore::kTop2Sum}) {
      for (const auto& [experts, groups, top_groups, top_k] : std::vector<std::array<int64_t, 4>>{
               {8, 1, 1, 2}, {12, 4, 2, 3}, {8, 4, 3, 6}, {6, 6, 2, 2}}) {
        RouterConfig config;
        config.num_experts = experts;
        config.num_groups = groups;
        config.top_groups = top_groups;
        config.top_k = top_k;
        config.score = score;
        config.group_score = group_score;
        const int64_t rows = 30;
        // A few distinct values: most rows have ties.
        std::uniform_int_distribution<int> few(-2, 2);
        std::vector<float> logits(rows * experts), bias(experts);
        for (float& value : logits) value = static_cast<float>(few(rng));
        for (float& value : bias) value = static_cast<float>(few(rng)) / 4;
        for (const float* used_bias :
             {static_cast<const float*>(nullptr), static_cast<const float*>(bias.data())}) {
          const Routed routed = Route({CpuPath::kScalar, &two}, config, logits, used_bias);
          for (int64_t i = 0; i < rows; ++i) {
            const auto begin = routed.experts.begin() + i * top_k;
            REQUIRE(std::vector<int32_t>(begin, begin + top_k) ==
                    BruteForce(config, &logits[i * experts], used_bias));
          }
        }
      }
    }
  }
}

TEST_CASE("weights are the unbiased scores, normalised and scaled as configured") {
  RouterConfig config;
  config.num_experts = 4;
  config.top_k = 2;
  config.routed_scale = 2.5f;
  const std::vector<float> logits = {0, 3, -1, 2};
  const std::vector<float> bias = {10, 0, 10, 0};  // chooses 0 and 2
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  for (const bool norm : {true, false}) {
    config.norm_top_k = norm;
    const Routed routed = Route({}, config, logits, bias.data());
    CHECK(routed.experts == std::vector<int32_t>{0, 2});
    const double sum = norm ? sigmoid(0) + sigmoid(-1) : 1;
    const std::vector<double> expected = {2.5 * sigmoid(0) / sum, 2.5 * sigmoid(-1) / sum};
    // exp within two ulps of the library, and six operations.
    const std::vector<double> bound = {expected[0] * 10 * kHalfUlp, expected[1] * 10 * kHalfUlp};
    RequireWithin(routed.weights, expected, bound, "weights");
  }
}

TEST_CASE("without numbers to compare, routing still names distinct experts") {
  RouterConfig config;
  config.num_experts = 8;
  config.num_groups = 4;
  config.top_groups = 2;
  config.top_k = 4;
  const std::vector<float> logits(8, std::numeric_limits<float>::quiet_NaN());
  CHECK(Route({}, config, logits, nullptr).experts == std::vector<int32_t>{0, 1, 2, 3});
}

}  // namespace
}  // namespace latentd
