// The oracle of absorbed attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/kernels/mla_sequence.h"

namespace latentd {

// Expanded attention of one row in double, and the error that the absorbed form may have.
//
// A score s = scale · (α (q̃·c) + q_R·kR) errs by at most (row width + 5) roundings (one of them is
// int8's, of the scale) of the sum of
// its terms' magnitudes: δ. A weight e^(s − m) then errs by e^(2δ) − 1 (its own score and the
// largest), by the exponential (3e-7), by three roundings around an int8 scale (times it, its
// inverse, times that) and by rounding p to bf16 (2^-8): ε in all. Since the weights
// are divided by their own sum, coordinate j errs by at most Σ p |c_t − z_j| ε / (1 − ε), plus one
// rounding of Σ p |c_t| for every step of the longest chain of sums: a unit's tokens, the units of
// a group, the groups, and 16 more within vectors and for the division. (bfdot's two roundings of a
// pair of terms are to odd and count twice, yet a sum of n terms has at most n + 2 of them: those
// of n/2 sums and of one pair. A score's is an eighth of its row, with three more to add the
// lanes.) Weights below the smallest normal number become zero: 2^-126 more for each; bf16
// products, pairs and sums too: 2^-124 for all of a token's; of int8, which is about p · scale and
// meets numbers up to 127, 2^-126 / scale times what c may be: 2^-99 with scales above 2^-20 and
// |c| below 2^7.
struct ExpandedRow {
  ExpandedRow(const Sequence& s, int64_t row) {
    const Model& m = s.model;
    const int64_t head = row % m.num_heads;
    const int64_t group = head * m.num_groups / m.num_heads;
    const int64_t num_tokens = row / m.num_heads + 1;
    std::vector<double> scores(num_tokens);
    double delta = 0;
    for (int64_t t = 0; t < num_tokens; ++t) {
      double magnitude = 0;
      scores[t] = Score(s, row, group, t, magnitude);
      delta = std::max(delta, static_cast<double>(m.RowWidth() + 5) * kHalfUlp * magnitude);
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    const double epsilon = std::expm1(2 * delta) + 3e-7 + kHalfUlpBf16 + 4 * kHalfUlp;
    const double tiny = m.IsInt8() ? 0x1p-99 : 0x1p-124;
    const auto depth =
        static_cast<double>(std::min(num_tokens, kUnitTokens) + 4 + num_tokens / kGroupTokens + 16);
    for (int64_t j = 0; j < m.RowLatent(); ++j) {
      const auto c = [&](int64_t t) { return j < m.width ? s.c[t * m.width + j] : 0.0; };
      double mean = 0, magnitude = 0, spread = 0;
      for (int64_t t = 0; t < num_tokens; ++t) {
        mean += scores[t] / sum * c(t);
        magnitude += scores[t] / sum * std::fabs(c(t));
      }
      for (int64_t t = 0; t < num_tokens; ++t) spread += scores[t] / sum * std::fabs(c(t) - mean);
      z.push_back(mean);
      bound.push_back(spread * epsilon / (1 - epsilon) + depth * (kHalfUlp * magnitude + tiny));
    }
  }

  // The expanded score; magnitude is the sum of its absorbed terms' magnitudes.
  static double Score(const Sequence& s, int64_t row, int64_t group, int64_t t, double& magnitude) {
    const Model& m = s.model;
    const double alpha = s.alphas[t * m.num_groups + group];
    double content = 0;
    for (int64_t i = 0; i < kHeadDim; ++i) {
      content += s.q_content[row * kHeadDim + i] * s.ExpandedKey(t, group, i);
    }
    double content_magnitude = 0;
    for (int64_t j = 0; j < m.width; ++j) {
      double q = 0;
      for (int64_t i = 0; i < kHeadDim; ++i) {
        q += s.q_content[row * kHeadDim + i] * s.w_uk[(group * kHeadDim + i) * m.width + j];
      }
      content_magnitude += std::fabs(q * s.c[t * m.width + j]);
    }
    double rotary = 0, rotary_magnitude = 0;
    for (int64_t i = 0; i < m.rope_dim; ++i) {
      const double term = double{s.q_rope[row * m.rope_dim + i]} * s.k_rope[t * m.rope_dim + i];
      rotary += term;
      rotary_magnitude += std::fabs(term);
    }
    const double rotary_alpha = m.key_norm == KeyNorm::kUnified ? alpha : 1;
    magnitude = m.Scale() * (alpha * content_magnitude + rotary_alpha * rotary_magnitude);
    return m.Scale() * (alpha * content + rotary_alpha * rotary);
  }

  std::vector<double> z, bound;
};

}  // namespace latentd
