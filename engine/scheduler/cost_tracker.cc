#include "engine/scheduler/cost_tracker.h"

#include <algorithm>

namespace latentd {
namespace {

constexpr double kMostAtOnce = 2;        // of a correction
constexpr double kLeastBase_us = 1;      // scaling nothing would never make it more
constexpr double kShareOfBudget = 0.25;  // a smaller estimate hardly bounds a chunk

double Median(double a, double b, double c) {
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

// Of four of them, neither the least nor the greatest is the median of five.
double Median(const std::array<double, 5>& v) {
  const double low = std::max(std::min(v[0], v[1]), std::min(v[2], v[3]));
  const double high = std::min(std::max(v[0], v[1]), std::max(v[2], v[3]));
  return Median(low, high, v[4]);
}

}  // namespace

void RecentMedian::Add(double sample) {
  samples_[next_] = sample;
  next_ = (next_ + 1) % samples_.size();
  value_ = Median(samples_);
}

CostTracker::CostTracker(const CostModel& measured, int64_t budget_us)
    : measured_(measured),
      budget_us_(static_cast<double>(budget_us)),
      cost_(measured),
      factor_(1),
      base_us_(std::max(kLeastBase_us, measured.base_us)) {}

void CostTracker::Observe(const StepEstimate& estimate, double took_us) {
  const double estimated_us = estimate.decode_us + estimate.prefill_us;
  if (estimated_us <= 0 || took_us <= 0) return;
  const Step step{estimated_us / factor(), took_us};
  const double matters_us = std::max(estimated_us, took_us - base_us_.value());
  if (estimate.prefill_us < estimate.decode_us) {
    if (took_us < estimated_us) Correct(took_us / step.tokens_us);
  } else if (matters_us >= kShareOfBudget * budget_us_) {
    LearnFromPrefill(step);
  }
  recent_[next_] = step;
  next_ = (next_ + 1) % recent_.size();
  cost_ = {.token_us = measured_.token_us * factor(),
           .position_us = measured_.position_us * factor(),
           .base_us = base_us_.value()};
}

const CostTracker::Step* CostTracker::Lighter(const Step& step) const {
  const Step* shortest = &step;
  for (const Step& other : recent_) {
    const bool lighter = other.tokens_us > 0 && 2 * other.tokens_us <= step.tokens_us;
    if (lighter && other.took_us < shortest->took_us) shortest = &other;
  }
  return shortest == &step ? nullptr : shortest;
}

void CostTracker::LearnFromPrefill(const Step& step) {
  if (const Step* lighter = Lighter(step)) {
    const double slope = (step.took_us - lighter->took_us) / (step.tokens_us - lighter->tokens_us);
    Correct(slope);
    base_us_.Add(std::max(kLeastBase_us, step.took_us - slope * step.tokens_us));
    return;
  }
  const double base_us = base_us_.value(), estimated_us = factor() * step.tokens_us;
  const double ratio =
      std::clamp(step.took_us / (base_us + estimated_us), 1 / kMostAtOnce, kMostAtOnce);
  // When the first tokens of a prompt come one by one, base and tokens cannot be told apart. The
  // estimate then gives way until a chunk is longer than that.
  const bool one_by_one = step.tokens_us < 2 * measured_.token_us && 2 * estimated_us > budget_us_;
  Correct(one_by_one ? 0 : factor() * ratio);
  base_us_.Add(std::max(kLeastBase_us, base_us * ratio));
}

void CostTracker::Correct(double factor) {
  const double now = factor_.value();
  factor_.Add(std::clamp(factor, now / kMostAtOnce, now * kMostAtOnce));
}

}  // namespace latentd
