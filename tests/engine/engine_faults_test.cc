// A fault while one request runs is that request's alone.
#include <catch2/catch.hpp>
#include <limits>

#include "tests/engine/drawing_executor.h"
#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

constexpr uint32_t kBadToken = 31;

// Spoils every row of an entry whose last token is kBadToken.
class SpoilingExecutor : public Executor {
 public:
  SpoilingExecutor(Executor* inner, float value) : inner_(inner), value_(value) {}
  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override {
    const auto spoil = [&](size_t entry_idx, int64_t position, std::span<float> logits) {
      if (plan.entries[entry_idx].token_ids.back() == kBadToken) {
        std::fill(logits.begin(), logits.end(), value_);
      }
      sink(entry_idx, position, logits);
    };
    inner_->Run(plan, spoil, outcomes);
  }
  int64_t vocab_size() const override { return inner_->vocab_size(); }

 private:
  Executor* const inner_;
  const float value_;
};

EngineRequest Request(uint64_t seed, uint32_t last) {
  EngineRequest request = Greedy(seed, 20);
  request.prompt.back() = last;
  request.sampling.logit_bias = {{kBadToken, -100.0F}};
  return request;
}

// Runs a good, a bad and a good request in one batch.
void CheckOnlyTheBadFails(Harness& harness, EngineRequest bad, absl::StatusCode code) {
  bad.num_choices = 2;
  const EngineRequest good = Request(1, 3);
  Reader first = harness.Submit(good), failing = harness.Submit(bad), last = harness.Submit(good);
  harness.Settle();
  for (Reader* reader : {&first, &failing, &last}) reader->Read();
  REQUIRE(failing.end);
  CHECK(failing.end->status.code() == code);
  CHECK(failing.choice(0).tokens.empty());
  for (Reader* reader : {&first, &last}) {
    CHECK(reader->end->status == absl::OkStatus());
    CHECK(reader->choice(0) == NaiveChoice(harness.options.model, good, 0));
  }
  CHECK(harness.Idle());
}

TEST_CASE("Logits that are no numbers end their request") {
  const float value =
      GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
               -std::numeric_limits<float>::infinity());
  const bool draws = GENERATE(false, true);
  HarnessOptions options;
  options.wrap = [value, draws](Executor* inner) -> std::unique_ptr<Executor> {
    auto spoiling = std::make_unique<SpoilingExecutor>(inner, value);
    if (!draws) return spoiling;
    return std::make_unique<DrawingExecutor>(std::move(spoiling));
  };
  Harness harness(options);
  EngineRequest bad = Request(2, kBadToken);
  if (GENERATE(true, false)) bad.prompt_top_logprobs = 0;
  CheckOnlyTheBadFails(harness, bad, absl::StatusCode::kInternal);
}

TEST_CASE("A sampler that throws ends its request") {
  auto sampler = std::make_shared<Sampler>(32);
  HarnessOptions options;
  options.draw = [sampler](const ChoiceState& state, std::span<const float> logits) {
    if (state.params().seed == 666) throw std::runtime_error("seam");
    return sampler->Draw(state, logits);
  };
  Harness harness(options);
  EngineRequest bad = Request(2, 4);
  bad.sampling.seed = 666;
  CheckOnlyTheBadFails(harness, bad, absl::StatusCode::kInternal);
}

TEST_CASE("What ends with choices still to add is forgotten at once, though its caller has left") {
  Reader* leaving = nullptr;
  HarnessOptions options;
  options.draw = [&](const ChoiceState&, std::span<const float>) -> absl::StatusOr<uint32_t> {
    leaving->stream.reset();  // the last that holds the request, but for the engine
    throw std::runtime_error("seam");
  };
  Harness harness(options);
  EngineRequest bad = Request(2, 4);
  bad.num_choices = 2;
  bad.deadline = harness.clock.Now() + std::chrono::hours(1);
  Reader reader = harness.Submit(bad);
  leaving = &reader;
  CHECK(harness.Turn());  // choice 0 alone: the other one waits for the prompt
  CHECK(harness.loop->InFlight() == 0);
  CHECK(harness.loop->Stats().sequences_waiting == 0);
  CHECK_FALSE(harness.loop->NextWakeup());
  harness.Settle();
  CHECK(harness.loop->Stats().sequences_waiting == 0);
  CHECK(harness.Idle());
}

TEST_CASE("A request that masks every token fails as its own fault") {
  HarnessOptions options;
  if (GENERATE(false, true)) {
    options.wrap = [](Executor* inner) { return std::make_unique<DrawingExecutor>(inner); };
  }
  Harness harness(options);
  EngineRequest bad = Request(2, 4);
  bad.min_tokens = 5;
  for (uint32_t token = 0; token < 32; ++token) bad.stop_token_ids.push_back(token);
  CheckOnlyTheBadFails(harness, bad, absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace latentd
