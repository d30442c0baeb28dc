#include "engine/scheduler/budget.h"

#include <catch2/catch.hpp>

namespace latentd {

TEST_CASE("the estimate of a chunk is the sum over its tokens") {
  const CostModel cost{.token_us = 3, .position_us = 0.5};
  double us = 0;
  for (int64_t n = 0; n < 300; ++n) {
    CHECK(EstimateUs(cost, 1000, n) == us);
    us += 3 + 0.5 * static_cast<double>(1000 + n);
  }
}

TEST_CASE("the largest chunk within a time is found") {
  const CostModel cost{.token_us = 2, .position_us = 0.25};
  for (int64_t position : {0, 1, 63, 64, 5000}) {
    for (double us : {-1.0, 0.0, 1.0, 2.0, 100.0, 1e4, 1e9}) {
      const int64_t n = MaxTokensWithin(cost, position, 512, us);
      CHECK((n == 0 || EstimateUs(cost, position, n) <= us));
      CHECK((n == 512 || EstimateUs(cost, position, n + 1) > us));
    }
  }
  CHECK(MaxTokensWithin({}, 0, 512, 0) == 512);  // nothing costs anything
  CHECK(MaxTokensWithin(cost, 0, 0, 100) == 0);
}

TEST_CASE("time bends for the first token, sequences and tokens never") {
  SchedulerOptions options;
  options.max_num_seqs = 2;
  options.max_num_batched_tokens = 10;
  options.step_us = 5;
  options.cost = {.token_us = 2, .position_us = 0};
  StepBudget budget(options, options.cost);
  CHECK(budget.Fit(0, 100, 0) == 2);
  budget.Take(0, 2);
  CHECK(budget.taken_us() == 4);
  CHECK(budget.Fit(0, 100, 0) == 0);
  CHECK(budget.Fit(0, 100, 1) == 1);
  budget.Take(0, 1);
  CHECK(budget.Fit(0, 100, 1) == 0);  // both sequences are taken

  StepBudget tokens(options, options.cost);
  tokens.Take(0, 10);
  CHECK(tokens.Fit(0, 1, 1) == 0);
}

}  // namespace latentd
