// The estimate of a step follows the clock: chunks keep to the time budget on a machine that is
// not, or does not stay, as it was measured.
#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

constexpr int64_t kBudget_us = 100'000, kBase_us = 20'000, kToken_us = 1000;
constexpr int64_t kFull = kBudget_us / kToken_us;  // tokens of a chunk that fills the budget

// A step takes slower · (base + token · tokens) by the harness's clock.
struct TimedExecutor final : Executor {
  explicit TimedExecutor(Executor* inner) : inner(inner) {}
  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override {
    inner->Run(plan, sink, outcomes);  // takes a millisecond
    int64_t tokens = 0;
    for (const PlanEntry& entry : plan.entries) tokens += entry.num_tokens();
    const int64_t us = slower * (kBase_us + tokens * kToken_us) * (disturbed-- > 0 ? 100 : 1);
    clock->Advance(std::chrono::microseconds(us - 1000));
    step_tokens.push_back(tokens);
    step_entries.push_back(static_cast<int64_t>(plan.entries.size()));
  }
  int64_t vocab_size() const override { return inner->vocab_size(); }

  Executor* const inner;
  ManualClock* clock = nullptr;
  int64_t slower = 1;
  int disturbed = 0;  // steps from now on
  std::vector<int64_t> step_tokens, step_entries;
};

struct Timed {
  explicit Timed(double times_dearer, int64_t max_num_seqs = 8) {
    HarnessOptions options;
    options.num_blocks = 512;
    options.engine.scheduler.max_num_seqs = max_num_seqs;
    options.engine.scheduler.step_us = kBudget_us;
    options.engine.scheduler.prefix_reuse = false;
    options.engine.scheduler.cost = {
        .token_us = kToken_us * times_dearer, .position_us = 0, .base_us = kBase_us * times_dearer};
    options.wrap = [this](Executor* inner) {
      auto wrapped = std::make_unique<TimedExecutor>(inner);
      executor = wrapped.get();
      return wrapped;
    };
    harness = std::make_unique<Harness>(std::move(options));
    executor->clock = &harness->clock;
  }
  // Tokens of the next step.
  int64_t Step() {
    REQUIRE(harness->Turn());
    return executor->step_tokens.back();
  }
  double factor() const { return harness->loop->Stats().cost_factor; }

  TimedExecutor* executor = nullptr;
  std::unique_ptr<Harness> harness;
};

TEST_CASE("started on a busy machine, chunks recover to what the budget allows") {
  Timed timed(7);
  const Reader reader = timed.harness->Submit(Greedy(1, 8000));
  CHECK(timed.Step() == kFull / 7);
  for (int i = 0; i < 24; ++i) timed.Step();
  CHECK(std::abs(timed.Step() - kFull) <= 1);
  CHECK(timed.factor() == Approx(1 / 7.0).epsilon(0.02));
  CHECK(timed.harness->loop->Stats().cost.token_us == Approx(kToken_us).epsilon(0.02));
  CHECK(timed.harness->loop->Stats().cost.base_us == Approx(kBase_us).epsilon(0.02));
}

TEST_CASE("when the machine becomes slower, steps return to the budget beside a running stream") {
  Timed timed(1);
  EngineRequest stream = Greedy(1, 5);
  stream.max_tokens = 200;
  const Reader streams = timed.harness->Submit(stream);
  for (int i = 0; i < 3; ++i) timed.Step();
  const Reader reader = timed.harness->Submit(Greedy(2, 8000));
  for (int i = 0; i < 10; ++i) CHECK(timed.Step() == kFull);  // the stream's token in it
  timed.executor->slower = 5;
  for (int i = 0; i < 24; ++i) timed.Step();
  CHECK(std::abs(timed.Step() - kFull / 5) <= 1);
  timed.executor->slower = 1;
  for (int i = 0; i < 24; ++i) timed.Step();
  CHECK(std::abs(timed.Step() - kFull) <= 1);
  CHECK(timed.executor->step_entries.back() == 2);
}

TEST_CASE("one step of a hundred times the time changes no other") {
  Timed timed(1);
  const Reader reader = timed.harness->Submit(Greedy(1, 8000));
  for (int i = 0; i < 6; ++i) timed.Step();
  timed.executor->disturbed = 1;
  for (int i = 0; i < 20; ++i) CHECK(std::abs(timed.Step() - kFull) <= 1);
}

TEST_CASE("streams alone neither change the estimate nor are held back, however slow they become") {
  Timed timed(1);
  std::vector<Reader> readers;
  for (uint64_t i = 0; i < 8; ++i) {
    EngineRequest request = Greedy(i, 3);
    request.max_tokens = 100;
    readers.push_back(timed.harness->Submit(request));
  }
  timed.Step();
  timed.executor->slower = 20;
  for (int i = 0; i < 60; ++i) CHECK(timed.Step() == 8);
  CHECK(timed.factor() == 1);
}

TEST_CASE("streams that an estimate holds back wrongly run all together again") {
  Timed timed(50);  // two tokens fill the budget
  std::vector<Reader> readers;
  for (uint64_t i = 0; i < 8; ++i) {
    EngineRequest request = Greedy(i, 1);
    request.max_tokens = 200;
    readers.push_back(timed.harness->Submit(request));
  }
  for (int i = 0; i < 100; ++i) timed.Step();
  CHECK(timed.Step() == 8);
}

TEST_CASE("a cost of nothing stays nothing: such a budget never binds") {
  Timed timed(0);
  const Reader reader = timed.harness->Submit(Greedy(1, 3000));
  for (int i = 0; i < 5; ++i) CHECK(timed.Step() == 512);
  CHECK(timed.factor() == 1);
}

}  // namespace
}  // namespace latentd
