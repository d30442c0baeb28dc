// Absorbed attention with α equals explicit normalisation of fully projected keys, in double
// precision, for every geometry; and a form with a fault in it does not.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "tests/engine/model/naive_attention.h"
#include "tests/engine/model/random_model.h"

namespace latentd {
namespace {

// A double has 2^-53 ≈ 1.1e-16; a score sums fewer than 200 products, a key norm and a rotation on
// either route, so that 200 · 1.1e-16 of the largest score is 2e-14. The rest is room for
// cancellation: products larger than the score they add up to.
constexpr double kTolerance = 1e-12;

ModelConfig Geometry() {
  ModelConfig config;
  config.hidden_size = 4;  // the projections around attention play no part here
  config.num_layers = 1;
  config.num_heads = 4;
  config.num_kv_groups = 4;
  config.kv_lora_rank = 19;
  config.qk_nope_head_dim = 6;
  config.qk_rope_head_dim = 4;
  config.v_head_dim = 7;
  config.intermediate_size = 1;
  config.vocab_size = 1;
  config.qk_norm_eps = 1e-6f;
  config.softmax_scale = 0.3f;
  return config;
}

void SetFrequencies(ModelConfig* config) {
  config->rope.inv_freq.clear();
  for (int64_t j = 0; j < config->qk_rope_head_dim / 2; ++j) {
    config->rope.inv_freq.push_back(std::pow(0.3, static_cast<double>(j)));
  }
}

NaiveInputs RandomInputs(const ModelConfig& config, int64_t length, std::mt19937& random) {
  std::normal_distribution<double> normal;
  const auto vectors = [&](int64_t size) {
    std::vector<NaiveVec> out(static_cast<size_t>(length), NaiveVec(static_cast<size_t>(size)));
    for (NaiveVec& v : out) std::generate(v.begin(), v.end(), [&] { return normal(random); });
    return out;
  };
  const int64_t head = config.qk_nope_head_dim + config.qk_rope_head_dim;
  return {vectors(config.num_heads * head), vectors(config.kv_lora_rank),
          vectors(config.qk_rope_head_dim)};
}

double Largest(const std::vector<NaiveVec>& rows) {
  double largest = 0;
  for (const NaiveVec& row : rows) {
    for (double v : row) largest = std::max(largest, std::abs(v));
  }
  return largest;
}

// The worst difference in units of `bound`; infinite for a NaN.
double Worst(const std::vector<NaiveVec>& a, const std::vector<NaiveVec>& b, double bound) {
  double worst = 0;
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].size() == b[i].size());
    for (size_t j = 0; j < a[i].size(); ++j) {
      const double error = std::abs(a[i][j] - b[i][j]) / bound;
      worst = error >= worst ? error : error < worst ? worst : HUGE_VAL;
    }
  }
  return worst;
}

// At most 1 when the two agree. A score may differ by δ = kTolerance of the largest, S; a weight
// then differs by 2δS relative, and an output by that of the largest output, besides δ of its own.
double Disagreement(const NaiveAttended& expanded, const NaiveAttended& absorbed) {
  const double largest = Largest(expanded.scores);
  const double output = Largest(expanded.heads) * (2 * largest + 1);
  return std::max(Worst(absorbed.scores, expanded.scores, kTolerance * largest),
                  Worst(absorbed.heads, expanded.heads, kTolerance * output));
}

// Both forms on one random draw, and every fault that matters here.
void CheckGeometry(const ModelConfig& config, int64_t length, uint32_t seed) {
  CAPTURE(seed, static_cast<int>(config.key_norm), config.num_heads, config.num_kv_groups,
          config.kv_lora_rank, config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim,
          config.qk_norm_before_rope, config.rope.interleaved, config.rope.magnitude,
          config.qk_norm_eps, length);
  std::mt19937 random(seed);
  const RandomModel model = MakeRandomModel(config, seed);
  const LayerWeights& w = model.weights.layers[0];
  const NaiveInputs inputs = RandomInputs(config, length, random);
  const NaiveAttended expanded = NaiveExpanded(config, w, inputs);
  CHECK(Disagreement(expanded, NaiveAbsorbed(config, w, inputs)) <= 1);
  for (int fault = 1; fault <= static_cast<int>(kLastAbsorbedFault); ++fault) {
    if (!Matters(static_cast<AbsorbedFault>(fault), config)) continue;
    CAPTURE(fault);
    CHECK(Disagreement(expanded,
                       NaiveAbsorbed(config, w, inputs, static_cast<AbsorbedFault>(fault))) > 1);
  }
}

}  // namespace

TEST_CASE("absorbed attention with α equals normalised keys, every combination") {
  uint32_t seed = 1;
  for (KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (int64_t groups : {1, 2, 4}) {
      for (int64_t rope_dim : {0, 4}) {
        for (bool before : {true, false}) {
          for (bool interleaved : {true, false}) {
            for (float magnitude : {1.0f, 1.37f}) {
              ModelConfig config = Geometry();
              config.key_norm = norm;
              config.num_kv_groups = groups;
              config.qk_rope_head_dim = rope_dim;
              config.qk_norm_before_rope = before;
              config.rope.interleaved = interleaved;
              config.rope.magnitude = magnitude;
              SetFrequencies(&config);
              CheckGeometry(config, 9, seed++);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("absorbed attention with α equals normalised keys, random geometries") {
  std::mt19937 random(20);
  const auto from = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  for (uint32_t i = 0; i < 300; ++i) {
    ModelConfig config = Geometry();
    config.key_norm = static_cast<KeyNorm>(from(0, 2));
    config.num_kv_groups = from(1, 5);
    config.num_heads = config.num_kv_groups * from(1, 4);
    config.kv_lora_rank = from(1, 70);
    config.qk_nope_head_dim = from(2, 20);
    config.qk_rope_head_dim = 2 * from(0, 8);
    config.v_head_dim = from(1, 24);
    config.qk_norm_before_rope = from(0, 1) == 1;
    config.rope.interleaved = from(0, 1) == 1;
    config.rope.magnitude = 0.5f + static_cast<float>(from(0, 100)) / 50;
    config.qk_norm_eps = std::pow(10.0f, -static_cast<float>(from(0, 6)));
    config.softmax_scale = 0.01f * static_cast<float>(from(1, 100));
    SetFrequencies(&config);
    CheckGeometry(config, from(2, 14), 1000 + i);
  }
}

}  // namespace latentd
