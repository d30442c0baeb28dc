// Expert selection, emulated or on a device, against the CPU's.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/cuda/operators.h"
#include "kernels/moe_router.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Routed OnCpu(const RouterConfig& config, const std::vector<float>& logits, const float* bias) {
  const int64_t rows = static_cast<int64_t>(logits.size()) / config.num_experts, k = config.top_k;
  Routed out = {std::vector<int32_t>(rows * k, -1), std::vector<float>(rows * k)};
  latentd::RouteExperts({}, config, latentd::View(logits, rows, config.num_experts), bias,
                        {out.experts.data(), rows, k, k}, latentd::View(out.weights, rows, k));
  return out;
}

Routed OnDevice(const RouterConfig& config, const std::vector<float>& logits,
                const std::vector<float>& bias) {
  const int64_t rows = static_cast<int64_t>(logits.size()) / config.num_experts, k = config.top_k;
  const Array device_logits(logits), device_bias(bias), weights(std::vector<float>(rows * k));
  const Array experts(std::vector<int32_t>(rows * k, -1));
  RouteExperts(nullptr, config, device_logits.View(rows, config.num_experts),
               bias.empty() ? nullptr : device_bias.data(), experts.View(rows, k),
               weights.View(rows, k));
  return {experts.Read(), weights.Read()};
}

std::vector<RouterConfig> Configs() {
  std::vector<RouterConfig> configs;
  for (const RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    for (const GroupScore group_score : {GroupScore::kMax, GroupScore::kTop2Sum}) {
      for (const bool norm : {true, false}) {
        configs.push_back({1, 1, 1, 1, score, group_score, norm, 1});
        configs.push_back({8, 2, 1, 1, score, group_score, norm, 1.5f});
        configs.push_back({64, 6, 8, 3, score, group_score, norm, 1});
        configs.push_back({256, 8, 8, 4, score, group_score, norm, 2.5f});
        configs.push_back({160, 160, 1, 1, score, group_score, norm, 16});
        configs.push_back({33, 5, 33, 7, score, group_score, norm, 1});  // groups of one
      }
    }
  }
  return configs;
}

// Logits and biases come from a few values: ties are frequent, and what is not a tie differs by far
// more than an exponential's error (σ(x) + σ(−x), which is 1 for every x, does not occur), so that
// every back end must choose the same experts. Weights
// are chosen scores over their sum, of E + k roundings and two exponentials (relative error 3e-7).
TEST_CASE("RouteExperts chooses as the CPU does, ties and groups included", "[small]") {
  std::mt19937 rng(1);
  for (const RouterConfig& config : Configs()) {
    const int64_t rows = 6;
    std::vector<float> logits(rows * config.num_experts);
    for (float& logit : logits) logit = static_cast<float>(rng() % 13) * 0.5f - 2.9f;
    std::vector<float> bias(config.num_experts);
    for (float& value : bias) value = static_cast<float>(rng() % 4) * 0.21875f;
    for (const std::vector<float>& biases : {std::vector<float>(), bias}) {
      INFO("E " << config.num_experts << " k " << config.top_k << " bias " << biases.size());
      const Routed expected = OnCpu(config, logits, biases.empty() ? nullptr : biases.data());
      const Routed actual = OnDevice(config, logits, biases);
      REQUIRE(actual.experts == expected.experts);
      std::vector<double> weights(expected.weights.begin(), expected.weights.end()), bound;
      const auto roundings = static_cast<double>(config.num_experts + config.top_k + 8);
      for (const double weight : weights) {
        bound.push_back(2 * std::fabs(weight) * (roundings * kHalfUlp + 4 * 3e-7));
      }
      RequireWithin(actual.weights, weights, bound, "weights");
    }
  }
}

TEST_CASE("RouteExperts with NaN logits takes them last, and a row is not its neighbours'") {
  std::mt19937 rng(2);
  const RouterConfig config = {.num_experts = 32, .top_k = 4, .num_groups = 4, .top_groups = 2};
  std::vector<float> logits = RandomFloats(rng, 5 * 32, 3);
  for (float& logit : logits) logit = std::round(logit * 4) / 4 + 0.1f;
  for (size_t i = 32; i < 64; ++i) logits[i] = std::numeric_limits<float>::quiet_NaN();
  for (size_t i = 64; i < 96; i += 2) logits[i] = std::numeric_limits<float>::quiet_NaN();
  const Routed together = OnDevice(config, logits, {});
  CHECK(together.experts == OnCpu(config, logits, nullptr).experts);
  for (size_t row = 0; row < 5; ++row) {
    const Routed alone =
        OnDevice(config, {logits.begin() + 32 * row, logits.begin() + 32 * (row + 1)}, {});
    for (size_t i = 0; i < 4; ++i) {
      CHECK(alone.experts[i] == together.experts[4 * row + i]);
      CHECK(std::bit_cast<uint32_t>(alone.weights[i]) ==
            std::bit_cast<uint32_t>(together.weights[4 * row + i]));
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
