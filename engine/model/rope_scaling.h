// Rotary frequencies and the factors that come with their scaling (latent-attention.md, section 2).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/families.h"
#include "engine/model/key_reader.h"

namespace latentd {

// YaRN, with every default filled in.
struct YarnParameters {
  double theta = 10000;
  double factor = 1;
  int64_t original_context = 0;  // tokens
  double beta_fast = 32;         // rotations over the original context above which nothing changes
  double beta_slow = 1;          // and below which positions are divided by factor
  bool truncate = true;          // correction range rounded outwards to whole dimensions
};

// 1 / theta^(2j / dim), j < dim / 2.
std::vector<double> InverseFrequencies(double theta, int64_t dim);
std::vector<double> YarnInverseFrequencies(const YarnParameters& yarn, int64_t dim);

// m(factor, mscale) = 0.1 · mscale · ln(factor) + 1, and 1 for factor <= 1.
double YarnMagnitude(double factor, double mscale);

// 1 / (factors[j] · theta^(2j / dim)), dim = 2 · factors.size().
std::vector<double> LongropeInverseFrequencies(double theta, const std::vector<double>& factors);
// √(1 + ln(factor) / ln(original_context)), and 1 for factor <= 1. REQUIRES: original_context > 1.
double LongropeMagnitude(double factor, int64_t original_context);

struct RopeSettings {
  RopeConfig rope;
  double score_factor = 1;  // m², multiplies the softmax scale
};

// What the reading of a config's rotation needs to know of the rest.
struct RopeGeometry {
  RopeFamily family;
  int64_t dim = 0;             // d_r
  int64_t key_dim = 0;         // d_n + d_r
  int64_t max_context = 0;     // max_position_embeddings, tokens
  int64_t served_context = 0;  // tokens; longrope chooses its factors by it
};

// Reads rope_parameters (transformers 5), or rope_theta and rope_scaling (before it); faults go to
// the reader.
RopeSettings ReadRope(KeyReader& config, const RopeGeometry& geometry);

}  // namespace latentd
