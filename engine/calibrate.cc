#include "engine/calibrate.h"

#include <algorithm>
#include <chrono>

#include "cache/block_pool.h"
#include "engine/executor.h"
#include "kernels/core/check.h"
#include "kernels/core/rounding.h"

namespace latentd {
namespace {

constexpr int64_t kDepth = 2048;      // where the slope over positions is measured
constexpr int64_t kFewTokens = 8;     // bounds start-up on a large model …
constexpr int64_t kManyTokens = 64;   // … and keeps noise out of the slope of a small one
constexpr double kQuick_us = 50'000;  // of a one-token step
// Something else may run during a sample, which only ever adds to it: the least of several is the
// nearest to the truth. A large model, whose steps fill this time, keeps one.
constexpr int kMaxSamples = 8;
constexpr double kSampling_us = 200'000;  // of all samples of one kind
// A token's share of the time of one alone, at least: nothing multiplies a thousand times while it
// reads a weight. Less is noise, and could not be corrected later: any factor of nothing is
// nothing.
constexpr double kLeastShare = 1.0 / 1024;

// Microseconds of a step that computes `count` tokens from `first_position` on. Every logical block
// is the one physical block: the arithmetic is the same, and no more of the pool is touched.
double TimeStep(Executor* executor, Clock* clock, uint32_t granule, int64_t first_position,
                int64_t count) {
  const std::vector<uint32_t> ids(static_cast<size_t>(count), 0);
  const std::vector<uint32_t> table(
      static_cast<size_t>(CeilDiv(first_position + count, kBlockTokens)), granule);
  StepPlan plan;
  plan.entries.push_back({.first_position = first_position,
                          .token_ids = ids,
                          .block_table = table,
                          .first_logits_position = first_position + count});
  std::vector<EntryOutcome> outcomes;
  const TimePoint begin = clock->Now();
  executor->Run(
      plan, [](size_t, int64_t, std::span<float>) {}, &outcomes);
  return std::chrono::duration<double, std::micro>(clock->Now() - begin).count();
}

}  // namespace

// What one more token adds: reading the weights once is the price of any step, however small, and
// counting it for each token would make chunks so short that they read the weights again and again.
CostModel MeasureCost(Executor* executor, BlockPool* pool, int64_t max_context, Clock* clock) {
  const std::optional<uint32_t> granule = pool->Allocate();
  LATENTD_CHECK(granule.has_value());
  const auto time = [&](int64_t first_position, int64_t count) {
    double least = TimeStep(executor, clock, *granule, first_position, count);
    double spent = least;
    for (int i = 1; i < kMaxSamples && spent < kSampling_us; ++i) {
      const double sample = TimeStep(executor, clock, *granule, first_position, count);
      least = std::min(least, sample);
      spent += sample;
    }
    return least;
  };
  TimeStep(executor, clock, *granule, 0, 1);  // first touch of the weights
  const double one = time(0, 1);
  const int64_t count = std::min(one < kQuick_us ? kManyTokens : kFewTokens, max_context);
  const double shallow = count > 1 ? time(0, count) : one;
  CostModel cost;
  cost.token_us = count > 1 ? (shallow - one) / static_cast<double>(count - 1) : one;
  cost.token_us = std::clamp(cost.token_us, one * kLeastShare, one);
  cost.base_us = one - cost.token_us;
  const int64_t depth = std::min(kDepth, max_context - count);
  if (depth > 0) {
    const double deep = time(depth, count);
    cost.position_us = std::max(0.0, deep - shallow) / static_cast<double>(count * depth);
  }
  pool->Unref(*granule);
  return cost;
}

}  // namespace latentd
