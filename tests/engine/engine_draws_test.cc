// Tokens that an executor draws: the answers of logits that reach the engine, which then see none.
#include <catch2/catch.hpp>

#include "tests/engine/drawing_executor.h"
#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

// A harness whose executor draws.
struct DrawingHarness {
  explicit DrawingHarness(HarnessOptions options = {}) : harness(WithDraws(std::move(options))) {}

  HarnessOptions WithDraws(HarnessOptions options) {
    options.wrap = [this](Executor* inner) {
      auto made = std::make_unique<DrawingExecutor>(inner);
      executor = made.get();
      return made;
    };
    return options;
  }

  DrawingExecutor* executor = nullptr;
  Harness harness;
};

// Of requests submitted one after the other while others run.
std::vector<Reader> Answers(Harness& harness, const std::vector<EngineRequest>& requests) {
  std::vector<Reader> readers;
  std::vector<Reader*> all;
  for (size_t i = 0; i < requests.size(); ++i) {
    readers.push_back(harness.Submit(requests[i]));
    if (i % 3 == 0) harness.Turn();
  }
  for (Reader& reader : readers) all.push_back(&reader);
  harness.Settle(all);
  for (Reader* reader : all) reader->Read();  // what the last turn of a submission sent
  CHECK(harness.Idle());
  return readers;
}

TEST_CASE(
    "Tokens that the executor draws are the naive answer, and no logits come but for hashes") {
  HarnessOptions options;
  options.num_blocks = GENERATE(12, 200);
  options.engine.backend = "fake";
  options.engine.max_waiting_tokens = 100000;
  options.engine.scheduler.max_num_seqs = 16;
  options.engine.scheduler.max_num_batched_tokens = 96;
  const bool with_hashes = GENERATE(false, true);
  DrawingHarness drawing(options);
  std::vector<EngineRequest> requests;
  for (uint64_t seed = 0; seed < 24; ++seed) {
    requests.push_back(Varied(seed));
    requests.back().logits_hash &= with_hashes;
  }
  std::vector<Reader> readers = Answers(drawing.harness, requests);
  int64_t num_drawn = 0, num_hashed = 0;
  for (size_t r = 0; r < requests.size(); ++r) {
    REQUIRE(readers[r].end);
    REQUIRE(readers[r].end->status == absl::OkStatus());
    for (uint32_t i = 0; i < requests[r].num_choices; ++i) {
      INFO("request " << r << " choice " << i);
      const ChoiceResult expected = NaiveChoice(options.model, requests[r], i, "fake");
      REQUIRE(readers[r].choice(i) == expected);
      const auto num_tokens = static_cast<int64_t>(expected.tokens.size());
      (requests[r].logits_hash ? num_hashed : num_drawn) += num_tokens;
    }
  }
  CHECK(drawing.executor->num_drawn() == num_drawn);
  CHECK(drawing.executor->num_delivered() == num_hashed);
  CHECK((num_hashed > 0) == with_hashes);
  if (options.num_blocks == 12) CHECK(drawing.harness.loop->Stats().preemptions > 0);
}

TEST_CASE("Scores of a prompt come from logits, the tokens after it from the executor") {
  EngineRequest request = Varied(3);
  request.prompt = Prompt(3, GENERATE(1, 40));
  request.max_tokens = GENERATE(0U, 6U);
  request.num_choices = request.max_tokens == 0 ? 1 : 2;
  request.stop_token_ids.clear();
  request.eos_token_ids.clear();
  request.prompt_top_logprobs = 4;
  request.logits_hash = false;
  Harness plain;
  DrawingHarness drawing;
  Reader expected = std::move(Answers(plain, {request})[0]);
  Reader actual = std::move(Answers(drawing.harness, {request})[0]);
  REQUIRE(actual.end->status == absl::OkStatus());
  REQUIRE(actual.prompt.size() == request.prompt.size());
  for (size_t i = 0; i < request.prompt.size(); ++i) {
    CHECK(actual.prompt[i].token == expected.prompt[i].token);
    REQUIRE(actual.prompt[i].logprobs.has_value() == (i > 0));
    if (i > 0) CHECK(SameLogprobs(*actual.prompt[i].logprobs, *expected.prompt[i].logprobs));
  }
  for (uint32_t i = 0; i < request.num_choices; ++i) CHECK(actual.choice(i) == expected.choice(i));
  // Of choice 0 the logits of the prompt; of the others none.
  CHECK(drawing.executor->num_delivered() == static_cast<int64_t>(request.prompt.size()));
  CHECK(drawing.executor->num_drawn() == (request.max_tokens == 0 ? 0 : 2 * 6 - 1));
}

TEST_CASE("A draw of the engine's owner sees the logits, whoever else could draw") {
  auto sampler = std::make_shared<Sampler>(32);
  int64_t num_draws = 0;
  HarnessOptions options;
  options.draw = [&, sampler](const ChoiceState& state, std::span<const float> logits) {
    ++num_draws;
    return sampler->Draw(state, logits);
  };
  DrawingHarness drawing(options);
  const EngineRequest request = Greedy(1, 20);
  std::vector<Reader> readers = Answers(drawing.harness, {request});
  CHECK(readers[0].choice(0) == NaiveChoice(options.model, request, 0));
  CHECK(num_draws == request.max_tokens);
  CHECK(drawing.executor->num_drawn() == 0);
}

}  // namespace
}  // namespace latentd
