#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/model/rope_scaling.h"

namespace latentd {
namespace {

constexpr double kMaxTheta = 1e15;
constexpr double kMaxFactor = 1e6;
constexpr int64_t kMaxTokens = int64_t{1} << 31;

// The object that describes the rotation, under either name.
std::optional<KeyReader> ScalingObject(KeyReader& config) {
  const bool both = config.Has("rope_parameters") && config.Has("rope_scaling");
  if (both && config.object()["rope_parameters"] != config.object()["rope_scaling"]) {
    config.Fail("rope_scaling", "contradicts rope_parameters; keep one of them");
  }
  return config.Object(config.Has("rope_scaling") ? "rope_scaling" : "rope_parameters");
}

void ReadYarn(KeyReader& keys, double theta, const RopeGeometry& geometry, RopeSettings* settings) {
  YarnParameters yarn;
  yarn.theta = theta;
  yarn.original_context =
      keys.IntOr("original_max_position_embeddings", 1, kMaxTokens, geometry.max_context);
  const double ratio =
      static_cast<double>(geometry.max_context) / static_cast<double>(yarn.original_context);
  yarn.factor = keys.NumberOr("factor", 1, kMaxFactor, std::max(ratio, 1.0));
  yarn.beta_fast = keys.NumberOr("beta_fast", 1e-6, 1e6, 32);
  yarn.beta_slow = keys.NumberOr("beta_slow", 1e-6, 1e6, 1);
  yarn.truncate = keys.BoolOr("truncate", true);
  const double mscale = keys.NumberOr("mscale", 0, 1e3, 1);
  const double mscale_all_dim = keys.NumberOr("mscale_all_dim", 0, 1e3, 0);
  const double all_dim = YarnMagnitude(yarn.factor, mscale_all_dim);
  const double magnitude =
      keys.NumberOr("attention_factor", 1e-6, 1e3, YarnMagnitude(yarn.factor, mscale) / all_dim);
  const bool scales_scores = keys.BoolOr("apply_yarn_scaling", true);
  std::vector<std::string> known = {"rope_type",
                                    "type",
                                    "rope_theta",
                                    "factor",
                                    "original_max_position_embeddings",
                                    "attention_factor",
                                    "beta_fast",
                                    "beta_slow",
                                    "mscale",
                                    "mscale_all_dim",
                                    "truncate",
                                    "partial_rotary_factor",
                                    "apply_yarn_scaling"};
  if (geometry.family.has_query_factor) {
    settings->rope.query_beta = keys.NumberOr("llama_4_scaling_beta", 0, 1e3, 0);
    settings->rope.query_context = yarn.original_context;
    known.insert(known.end(), {"llama_4_scaling_beta", "max_position_embeddings"});
  }
  keys.RefuseOthers(known);
  if (!keys.ok()) return;
  settings->rope.inv_freq = YarnInverseFrequencies(yarn, geometry.dim);
  settings->rope.magnitude = static_cast<float>(magnitude);
  // all_dim is 1 when mscale_all_dim is 0
  settings->score_factor = scales_scores ? all_dim * all_dim : 1;
}

// A factor for each rotated pair.
std::vector<double> ReadFactors(KeyReader& keys, const char* key, int64_t count) {
  std::vector<double> factors;
  if (keys.Has(key) && keys.object()[key].is_array()) {
    for (const nlohmann::json& value : keys.object()[key]) {
      if (value.is_number()) factors.push_back(value.get<double>());
    }
  }
  const bool all_usable = std::all_of(factors.begin(), factors.end(),
                                      [](double v) { return v >= 1e-6 && v <= kMaxFactor; });
  if (factors.size() == static_cast<size_t>(count) && all_usable) return factors;
  keys.Fail(key, absl::StrCat("must be a list of ", count, " numbers from 1e-06 to ", kMaxFactor));
  return std::vector<double>(static_cast<size_t>(count), 1);
}

// One set of factors serves all positions of all sequences: a sequence that grew past the original
// context would otherwise change its own past (latent-attention.md section 5, rule 3).
void ReadLongrope(KeyReader& keys, double theta, const RopeGeometry& geometry,
                  RopeSettings* settings) {
  const int64_t original = keys.Int("original_max_position_embeddings", 2, kMaxTokens);
  const std::vector<double> short_factors = ReadFactors(keys, "short_factor", geometry.dim / 2);
  const std::vector<double> long_factors = ReadFactors(keys, "long_factor", geometry.dim / 2);
  const double ratio = static_cast<double>(geometry.max_context) /
                       static_cast<double>(std::max<int64_t>(original, 1));
  const double factor = keys.NumberOr("factor", 1, kMaxFactor, std::max(ratio, 1.0));
  const double magnitude =
      keys.NumberOr("attention_factor", 1e-6, 1e3, LongropeMagnitude(factor, original));
  keys.RefuseOthers({"rope_type", "type", "rope_theta", "factor", "short_factor", "long_factor",
                     "original_max_position_embeddings", "attention_factor",
                     "partial_rotary_factor"});
  if (!keys.ok()) return;
  settings->rope.inv_freq = LongropeInverseFrequencies(
      theta, geometry.served_context > original ? long_factors : short_factors);
  settings->rope.magnitude = static_cast<float>(magnitude);
}

// The share of a head that rotates can say nothing new: qk_rope_head_dim has it already.
void CheckShare(KeyReader& keys, const RopeGeometry& geometry) {
  const double share = keys.NumberOr("partial_rotary_factor", 0, 1e3, 1);
  const double of_key = static_cast<double>(geometry.dim) / static_cast<double>(geometry.key_dim);
  if (share == 1 || (geometry.family.partial_rotary_of_key && std::abs(share - of_key) < 1e-9))
    return;
  keys.Fail("partial_rotary_factor", "other than 1 is not supported");
}

}  // namespace

RopeSettings ReadRope(KeyReader& config, const RopeGeometry& geometry) {
  RopeSettings settings;
  settings.rope.interleaved = config.BoolOr("rope_interleave", geometry.family.interleaved);
  // Above 1, so that its logarithm can divide.
  double theta = config.NumberOr("rope_theta", 1.001, kMaxTheta, geometry.family.theta);
  std::optional<KeyReader> keys = ScalingObject(config);
  std::string type = "default";
  if (keys.has_value()) {
    theta = keys->NumberOr("rope_theta", 1.001, kMaxTheta, theta);
    type = keys->StringOr("rope_type", keys->StringOr("type", type));
    CheckShare(*keys, geometry);
  }
  settings.rope.scaling = type;
  if (type == "yarn") {
    ReadYarn(*keys, theta, geometry, &settings);
    return settings;
  }
  if (type == "longrope" && geometry.family.has_longrope) {
    ReadLongrope(*keys, theta, geometry, &settings);
    return settings;
  }
  if (type != "default") {
    keys->Fail(keys->Has("rope_type") ? "rope_type" : "type",
               absl::StrCat("'", Printable(type), "' is not supported (default, yarn",
                            geometry.family.has_longrope ? ", longrope)" : ")"));
  }
  if (keys.has_value()) {
    keys->RefuseOthers({"rope_type", "type", "rope_theta", "partial_rotary_factor"});
  }
  settings.rope.inv_freq = InverseFrequencies(theta, geometry.dim);
  return settings;
}

}  // namespace latentd
