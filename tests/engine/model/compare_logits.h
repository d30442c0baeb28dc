// The engine's logits against those of the plain model, with a derived bound.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "engine/model/transformer.h"
#include "tests/engine/model/naive_model.h"

namespace latentd {

// The worst logit of a run in units of what it may differ by from the oracle, and where it is.
//
// Beyond fp32 sums (2^-24 a term, nothing here) the engine rounds three things to bf16, relative
// u = 2^-8 at most and 2^-9 in the root mean square: the absorbed query and the rotary key, either
// of which moves a score s by u·|s|, hence a probability by 2·u·S relative, S the largest score;
// and the probability itself. Every layer passes this on through norms that keep relative size, so
// that logits differ by at most layers·(4S + 1)·u of the largest. Errors of both signs meet in
// every sum, so the root mean square counts.
struct Difference {
  double worst = 0;  // 1: as much as is allowed
  std::string where;
};

//
// The expanded route rounds queries and keys (4S again), probabilities and values: 2u.
inline Difference Compare(const NaiveResult& truth, const std::vector<std::vector<float>>& got,
                          int64_t layers, Determinism determinism = Determinism::kStrict) {
  const double outside_scores = determinism == Determinism::kStrict ? 1 : 2;
  double largest = 0;
  for (const auto& row : truth.logits) {
    for (double v : row) largest = std::max(largest, std::abs(v));
  }
  const double bound = static_cast<double>(layers) * (4 * truth.largest_score + outside_scores) *
                       std::ldexp(1, -9) * largest;
  REQUIRE(got.size() == truth.logits.size());
  Difference out;
  for (size_t t = 0; t < got.size(); ++t) {
    for (size_t v = 0; v < got[t].size(); ++v) {
      const double error = std::abs(static_cast<double>(got[t][v]) - truth.logits[t][v]);
      if (error / bound <= out.worst) continue;
      out.worst = std::isnan(error) ? HUGE_VAL : error / bound;
      std::ostringstream where;
      where << "token " << t << " logit " << v << ": " << got[t][v] << " against "
            << truth.logits[t][v] << ", bound " << bound;
      out.where = where.str();
    }
  }
  return out;
}

}  // namespace latentd
