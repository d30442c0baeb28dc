#include "engine/scheduler/budget.h"

#include <algorithm>

namespace latentd {

double EstimateUs(const CostModel& cost, int64_t first_position, int64_t num_tokens) {
  // Σ_{i<n} (a + b·(p + i)) = n·a + b·(n·p + n(n−1)/2)
  const auto n = static_cast<double>(num_tokens);
  const auto p = static_cast<double>(first_position);
  return n * cost.token_us + cost.position_us * (n * p + n * (n - 1) / 2);
}

int64_t MaxTokensWithin(const CostModel& cost, int64_t first_position, int64_t limit, double us) {
  if (limit <= 0 || us < 0) return 0;
  if (EstimateUs(cost, first_position, limit) <= us) return limit;
  int64_t fits = 0, exceeds = limit;  // the estimate grows with the number of tokens
  while (exceeds - fits > 1) {
    const int64_t middle = fits + (exceeds - fits) / 2;
    (EstimateUs(cost, first_position, middle) <= us ? fits : exceeds) = middle;
  }
  return fits;
}

int64_t StepBudget::Fit(int64_t first_position, int64_t num_tokens, int64_t min_tokens) const {
  if (seqs_ <= 0) return 0;
  const int64_t limit = std::min(num_tokens, tokens_);
  return std::max(MaxTokensWithin(cost_, first_position, limit, us_), std::min(limit, min_tokens));
}

void StepBudget::Take(int64_t first_position, int64_t num_tokens) {
  --seqs_;
  tokens_ -= num_tokens;
  const double us = EstimateUs(cost_, first_position, num_tokens);
  us_ -= us;
  taken_us_ += us;
}

}  // namespace latentd
