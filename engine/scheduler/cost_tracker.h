// The cost model measured at start, corrected by how long steps really take: the machine may have
// been busy then, or become so later.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engine/scheduler/scheduler.h"

namespace latentd {

// The median of the last five samples: two of them may be anything, three make it follow.
class RecentMedian {
 public:
  explicit RecentMedian(double value) : value_(value) { samples_.fill(value); }
  void Add(double sample);
  double value() const { return value_; }

 private:
  std::array<double, 5> samples_;
  size_t next_ = 0;
  double value_;
};

// What the tokens of a step are put at when it is planned, in microseconds.
struct StepEstimate {
  double decode_us = 0, prefill_us = 0;
};

// Takes a step's time to be base + factor · tokens, where tokens is what the model measured at
// start puts its tokens at. Only a step that is mostly prefill, and long enough for its estimate to
// matter, says what prefill costs:
// * beside a recent step with at most half the tokens, the two differ by tokens alone, whatever the
//   base is: their slope is the factor;
// * else base and factor are scaled alike, as if the whole machine had become slower or faster.
//   Blaming the tokens alone would shorten chunks, and read the weights more often, for a base that
//   has grown.
// Any other step, a decode above all, says nothing about chunks, but for one thing: its tokens did
// not take longer than it did.
//
// The factor moves by at most two in three such steps, so that no chunk is much longer than one
// whose time is known. It needs no other bounds: it is a ratio of measured times, and settles where
// a step that fills the budget takes base + budget. Allocates nothing.
class CostTracker {
 public:
  // budget_us: what the tokens of a step may take.
  CostTracker(const CostModel& measured, int64_t budget_us);

  // What to plan with.
  const CostModel& cost() const { return cost_; }
  double factor() const { return factor_.value(); }

  // A step whose tokens cost() put at `estimate` took took_us, none of it cancelled.
  void Observe(const StepEstimate& estimate, double took_us);

 private:
  struct Step {
    double tokens_us = 0;  // by the model measured at start; 0: no such step
    double took_us = 0;
  };
  // The shortest recent step with at most half the tokens, if it was shorter: a disturbance only
  // ever makes a step longer. Null: none.
  const Step* Lighter(const Step& step) const;
  void LearnFromPrefill(const Step& step);
  void Correct(double factor);

  const CostModel measured_;
  const double budget_us_;
  CostModel cost_;
  RecentMedian factor_, base_us_;
  std::array<Step, 8> recent_;
  size_t next_ = 0;  // of recent_
};

}  // namespace latentd
