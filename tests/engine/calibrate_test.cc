// The cost model measured at start, by a clock that only the executor moves.
#include "engine/calibrate.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>

#include "cache/block_pool.h"
#include "engine/executor.h"
#include "tests/fakes/manual_clock.h"

namespace latentd {
namespace {

// A step takes base + token_us a token + position_us a token and position, and what `noise` says.
struct TimedExecutor final : Executor {
  void Run(const StepPlan& plan, const LogitsSink&, std::vector<EntryOutcome>*) override {
    const PlanEntry& entry = plan.entries.at(0);
    const auto count = static_cast<int64_t>(entry.token_ids.size());
    const int64_t us = base_us + count * (token_us + position_us * entry.first_position);
    clock.Advance(std::chrono::microseconds(us + (noise ? noise(num_steps) : 0)));
    ++num_steps;
    longest = std::max(longest, count);
  }
  int64_t vocab_size() const override { return 16; }

  CostModel Measure(int64_t max_context) {
    auto pool = BlockPool::Create(BlockLayout::Make(1, 64, 0, 0), 2).value();
    return MeasureCost(this, pool.get(), max_context, &clock);
  }

  int64_t base_us = 500, token_us = 10, position_us = 1;
  std::function<int64_t(int)> noise;  // of step i; never less than nothing
  ManualClock clock;
  int num_steps = 0;
  int64_t longest = 0;  // step, in tokens
};

TEST_CASE("the price of the first token is not that of one more") {
  TimedExecutor executor;
  const CostModel cost = executor.Measure(4096);
  CHECK(cost.token_us == 10);
  CHECK(cost.position_us == 1);
  CHECK(cost.base_us == 500);
}

TEST_CASE(
    "a token costs no more than a step of one, and never nothing: that could not be corrected") {
  const auto measure = [](int disturbed) {
    TimedExecutor executor;
    executor.base_us = 1'023'000;
    executor.token_us = 1'000;
    executor.position_us = 0;
    executor.noise = [disturbed](int step) { return step == disturbed ? 10'000'000 : 0; };
    return executor.Measure(4096);
  };
  const CostModel cheap = measure(1);  // the step of one token
  CHECK(cheap.token_us == 11'024'000 / 1024.0);
  CHECK(cheap.base_us == 11'024'000 - cheap.token_us);
  const CostModel dear = measure(2);  // the step of several
  CHECK(dear.token_us == 1'024'000);
  CHECK(dear.base_us == 0);
}

TEST_CASE("a disturbed sample is not believed when another is not") {
  for (int quiet = 0; quiet < 4; ++quiet) {
    TimedExecutor executor;
    executor.position_us = 0;  // all steps are short: every kind has its full number of samples
    // Three of four steps are disturbed, each in its own way.
    executor.noise = [quiet](int step) { return step % 4 == quiet ? 0 : 100 + step * 37 % 500; };
    const CostModel cost = executor.Measure(4096);
    CHECK(cost.token_us == 10);
    CHECK(cost.position_us == 0);
  }
}

TEST_CASE("noise moves the price of a token little, unless measuring more would be slow") {
  TimedExecutor executor;
  executor.base_us = 30'000;
  executor.token_us = 3'000;
  executor.noise = [](int step) { return step == 0 ? 0 : 10'000 * (step % 2); };
  executor.position_us = 0;
  CHECK(executor.Measure(4096).token_us <= 3'000 + 10'000 / 63.0);
  CHECK(executor.longest == 64);

  TimedExecutor large;
  large.base_us = 60'000;
  large.token_us = 1'000;
  CHECK(large.Measure(4096).token_us == 1'000);
  CHECK(large.longest == 8);
}

TEST_CASE("a model whose steps are long is measured once a kind") {
  TimedExecutor executor;
  executor.base_us = 1'000'000;
  executor.token_us = 1'000;
  CHECK(executor.Measure(4096).token_us == 1'000);
  CHECK(executor.num_steps == 4);  // the first touch, one token, several, several at depth
}

}  // namespace
}  // namespace latentd
