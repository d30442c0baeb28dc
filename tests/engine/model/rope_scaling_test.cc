#include "engine/model/rope_scaling.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "engine/model/loader.h"
#include "tests/engine/model/model_folder.h"

namespace latentd {
namespace {

// Goldens from numpy in double, and within 2e-7 (float32) of transformers 5.23's
// ROPE_INIT_FUNCTIONS["yarn"] on DeepseekV3Config for the same parameters:
//
//   def yarn(theta, factor, orig, fast, slow, trunc, dim):
//       f = lambda rot: dim * math.log(orig / (rot * 2 * math.pi)) / (2 * math.log(theta))
//       low, high = f(fast), f(slow)
//       if trunc: low, high = math.floor(low), math.ceil(high)
//       low, high = max(low, 0), min(high, dim - 1)
//       if low == high: high += 0.001
//       ramp = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
//       p = np.float64(theta) ** (np.arange(0, dim, 2) / dim)
//       return (1 / (factor * p)) * ramp + (1 / p) * (1 - ramp)
struct Golden {
  const char* name;
  YarnParameters yarn;
  int64_t dim;
  size_t first;                // index of the first value below
  std::vector<double> values;  // consecutive
};

const std::vector<Golden>& Goldens() {
  static const std::vector<Golden> goldens{
      {"DeepSeek-V3",
       {10000, 40, 4096, 32, 1, true},
       64,
       9,
       {0.07498942093324558, 0.056234132519034905, 0.03900692656714386, 0.026879360111431223,
        0.018378146218877827, 0.01244795587027246, 0.008334508951020777, 0.0055,
        0.0035619974943291656, 0.002249365300761396, 0.0013705136361428923, 0.0007905694150420947,
        0.0004149903984907897, 0.0001778279410038922, 3.33380358040831e-05, 2.5e-05}},
      {"Kimi K2: beta_fast = beta_slow",
       {50000, 32, 4096, 1, 1, true},
       64,
       17,
       {0.003189129722743409, 0.0022742037565104418, 0.0016217599081159522, 3.6140467735726306e-05,
        2.577216815624846e-05}},
      {"not truncated",
       {10000, 16, 1024, 32, 1, false},
       32,
       0,
       {1.0, 0.5623413251903491, 0.31622776601683794, 0.17306185652476871, 0.08174829579325599,
        0.03721392570531028, 0.016002775638933743, 0.006229967528536827, 0.0019462144014117928,
        0.0003514633282439682, 0.00019764235376052374, 0.00011114246312743269}},
      {"low and high at their bounds",
       {10000, 4, 64, 32, 1, true},
       16,
       0,
       {1.0, 0.23717082451262847, 0.05, 0.007905694150420948, 0.0025, 0.000790569415042095, 0.00025,
        7.905694150420948e-05}},
      {"the same, not truncated",
       {10000, 4, 64, 32, 1, false},
       16,
       0,
       {1.0, 0.19858352015369318, 0.02559524589192421, 0.007905694150420948, 0.0025}},
      {"low equals high: no division by zero",
       {10000, 4, 4, 32, 1, true},
       16,
       0,
       {1.0, 0.07905694150420949, 0.025, 0.007905694150420948}},
      {"high held to the last dimension",
       {10, 8, 4096, 100, 1, true},
       16,
       0,
       {1.0, 0.7498942093324559, 0.5623413251903491, 0.4216965034285823, 0.31622776601683794,
        0.23713737056616555, 0.1778279410038923, 0.12038735151474453}},
  };
  return goldens;
}

ModelConfig Parse(const nlohmann::json& changes) {
  TestModel model = MakeDeepseekV3();
  model.config.update(changes);
  absl::StatusOr<ModelConfig> config = ParseModelConfig(model.config.dump());
  INFO(config.status().message());
  REQUIRE(config.ok());
  return *std::move(config);
}

constexpr double kDoubleNoise = 1e-13;  // a few roundings of pow and products in double

}  // namespace

TEST_CASE("YaRN frequencies equal the reference", "[rope]") {
  for (const Golden& golden : Goldens()) {
    const std::vector<double> inv_freq = YarnInverseFrequencies(golden.yarn, golden.dim);
    REQUIRE(inv_freq.size() == static_cast<size_t>(golden.dim / 2));
    for (size_t i = 0; i < golden.values.size(); ++i) {
      INFO(golden.name << ", frequency " << golden.first + i);
      const double value = inv_freq[golden.first + i];
      CHECK(std::abs(value / golden.values[i] - 1) < kDoubleNoise);
    }
  }
}

TEST_CASE("plain frequencies are powers of theta", "[rope]") {
  const std::vector<double> inv_freq = InverseFrequencies(1e6, 6);
  REQUIRE(inv_freq.size() == 3);
  CHECK(inv_freq[0] == 1);
  CHECK(inv_freq[1] == Approx(1e-2).epsilon(kDoubleNoise));
  CHECK(inv_freq[2] == Approx(1e-4).epsilon(kDoubleNoise));
  CHECK(InverseFrequencies(1e4, 0).empty());
}

TEST_CASE("both spellings of a YaRN config mean the same", "[rope]") {
  const nlohmann::json yarn = {{"factor", 40},          {"beta_fast", 32},
                               {"beta_slow", 1},        {"mscale", 1.0},
                               {"mscale_all_dim", 1.0}, {"original_max_position_embeddings", 4096}};
  nlohmann::json older = yarn;
  older["type"] = "yarn";
  nlohmann::json newer = yarn;
  newer["rope_type"] = "yarn";
  newer["rope_theta"] = 50000.0;
  const ModelConfig a = Parse({{"rope_theta", 50000}, {"rope_scaling", older}});
  const ModelConfig b = Parse({{"rope_parameters", newer}});
  CHECK(a.rope.inv_freq == b.rope.inv_freq);
  CHECK(a.rope.inv_freq == YarnInverseFrequencies({50000, 40, 4096, 32, 1, true}, 4));
  CHECK(a.softmax_scale == b.softmax_scale);
  CHECK(a.rope.magnitude == 1.0f);
  // (d_n + d_r)^(−1/2) · m², m = 0.1 · ln 40 + 1: 1.8739 is V3's m².
  CHECK(a.softmax_scale == Approx(1.8738554 / std::sqrt(10.0)).epsilon(1e-6));
}

TEST_CASE("magnitudes of cos and sin", "[rope]") {
  const auto magnitude = [](const nlohmann::json& changes) {
    nlohmann::json yarn = {
        {"rope_type", "yarn"}, {"factor", 40.0}, {"original_max_position_embeddings", 64}};
    yarn.update(changes);
    return Parse({{"rope_parameters", yarn}}).rope.magnitude;
  };
  const double log40 = std::log(40.0);
  CHECK(magnitude(nlohmann::json::object()) == Approx(0.1 * log40 + 1));
  CHECK(magnitude({{"mscale", 0.707}, {"mscale_all_dim", 0.707}}) == 1.0f);
  CHECK(magnitude({{"mscale", 0.8}, {"mscale_all_dim", 0.3}}) ==
        Approx((0.08 * log40 + 1) / (0.03 * log40 + 1)));
  CHECK(magnitude({{"attention_factor", 1.25}, {"mscale", 0.8}}) == 1.25f);
  CHECK(magnitude({{"factor", 1.0}}) == 1.0f);
}

TEST_CASE("an absent factor is the ratio of the contexts", "[rope]") {
  const ModelConfig config = Parse(
      {{"rope_parameters",
        {{"rope_type", "yarn"}, {"factor", nullptr}, {"original_max_position_embeddings", 64}}}});
  CHECK(config.rope.inv_freq == YarnInverseFrequencies({10000, 4, 64, 32, 1, true}, 4));
}

TEST_CASE("without scaling theta comes from either place", "[rope]") {
  const std::vector<double> want = InverseFrequencies(1.6e6, 4);
  CHECK(Parse({{"rope_theta", 1600000}}).rope.inv_freq == want);
  CHECK(Parse({{"rope_theta", 1600000}, {"rope_scaling", nullptr}}).rope.inv_freq == want);
  CHECK(Parse({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1.6e6}}}})
            .rope.inv_freq == want);
  CHECK(Parse(nlohmann::json::object()).rope.inv_freq == InverseFrequencies(10000, 4));
  CHECK(Parse(nlohmann::json::object()).rope.interleaved);
  CHECK_FALSE(Parse({{"rope_interleave", false}}).rope.interleaved);
}

}  // namespace latentd
