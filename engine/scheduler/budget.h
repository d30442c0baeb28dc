// What one step may cost: sequences, tokens and estimated time.
#pragma once

#include <cstdint>

#include "engine/scheduler/scheduler.h"

namespace latentd {

// Estimated microseconds for num_tokens consecutive tokens from first_position on. Pure.
double EstimateUs(const CostModel& cost, int64_t first_position, int64_t num_tokens);

// The most tokens, up to limit, whose estimate is within `us` (which may be negative). Pure.
int64_t MaxTokensWithin(const CostModel& cost, int64_t first_position, int64_t limit, double us);

// What is left of a step while it is planned.
class StepBudget {
 public:
  StepBudget(const SchedulerOptions& options, const CostModel& cost)
      : cost_(cost),
        seqs_(options.max_num_seqs),
        tokens_(options.max_num_batched_tokens),
        us_(static_cast<double>(options.step_us)) {}

  int64_t seqs() const { return seqs_; }
  double taken_us() const { return taken_us_; }  // estimated, of all that was taken
  // How many of num_tokens may be planned now, at least min_tokens if sequences and tokens allow:
  // the time budget bends for the first token of a kind, so that every step makes progress.
  int64_t Fit(int64_t first_position, int64_t num_tokens, int64_t min_tokens) const;
  void Take(int64_t first_position, int64_t num_tokens);

 private:
  const CostModel cost_;
  int64_t seqs_, tokens_;
  double us_, taken_us_ = 0;
};

}  // namespace latentd
