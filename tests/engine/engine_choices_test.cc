// Tokens: whatever runs beside a choice, it gets what it would get alone.
#include <catch2/catch.hpp>

#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

void CheckAnswer(const Harness& harness, const EngineRequest& request, Reader& reader) {
  reader.Read();
  REQUIRE(reader.end);
  REQUIRE(reader.end->status == absl::OkStatus());
  for (uint32_t i = 0; i < request.num_choices; ++i) {
    INFO("choice " << i);
    REQUIRE(reader.choice(i) ==
            NaiveChoice(harness.options.model, request, i, harness.options.engine.backend));
  }
}

TEST_CASE("A single request gets the naive answer") {
  Harness harness;
  EngineRequest request = Greedy(1, GENERATE(1, 63, 64, 65, 300));
  request.sampling.temperature = GENERATE(0.0F, 1.0F);
  Reader reader = harness.Submit(request);
  harness.Settle();
  CheckAnswer(harness, request, reader);
  CHECK(harness.Idle());
}

TEST_CASE("Requests in one batch get what each gets alone, in a pool too small for all") {
  HarnessOptions options;
  options.num_blocks = GENERATE(5, 12, 200);
  options.engine.backend = "fake";
  options.engine.max_waiting_tokens = 100000;
  options.engine.scheduler.max_num_seqs = 16;
  options.engine.scheduler.max_num_batched_tokens = 96;
  Harness harness(options);
  std::vector<EngineRequest> requests;
  std::vector<Reader> readers;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    requests.push_back(Varied(seed));
    readers.push_back(harness.Submit(requests.back()));
    if (seed % 3 == 0) harness.Turn();
  }
  std::vector<Reader*> all;
  for (Reader& reader : readers) all.push_back(&reader);
  harness.Settle(all);
  for (size_t i = 0; i < readers.size(); ++i) {
    INFO("request " << i);
    CheckAnswer(harness, requests[i], readers[i]);
  }
  if (options.num_blocks == 12) CHECK(harness.loop->Stats().preemptions > 0);
  CHECK(harness.Idle());
}

TEST_CASE("Choices differ, count their own positions, and reuse the prompt's blocks") {
  Harness harness;
  EngineRequest request = Greedy(7, 200);
  request.sampling.temperature = 1;
  request.sampling.seed = 99;
  request.num_choices = 5;
  Reader reader = harness.Submit(request);
  harness.Settle();
  CheckAnswer(harness, request, reader);
  for (uint32_t i = 1; i < 5; ++i) CHECK(reader.choice(i).tokens != reader.choice(0).tokens);
  CHECK(harness.loop->Stats().prefix_hits == 4 * 192);
  CHECK(reader.end->cached_prompt_tokens == 0);

  Reader again = harness.Submit(request);
  harness.Settle();
  CheckAnswer(harness, request, again);
  CHECK(again.end->cached_prompt_tokens == 192);
}

TEST_CASE("More choices than the scheduler lets wait are added as room comes") {
  HarnessOptions options;
  options.engine.scheduler.max_waiting = 2;
  options.engine.scheduler.max_num_seqs = 2;
  Harness harness(options);
  EngineRequest request = Greedy(7, 20);
  request.num_choices = 9;
  Reader first = harness.Submit(request), second = harness.Submit(request);
  harness.Turn();
  harness.Turn();
  CHECK(harness.loop->Stats().sequences_waiting == 16);  // 18, of which both choices 0 run
  harness.Settle();
  CheckAnswer(harness, request, first);
  CheckAnswer(harness, request, second);
}

TEST_CASE("eos and stop tokens end a choice, min_tokens delays them, ignore_eos ignores them") {
  Harness harness;
  EngineRequest request = Greedy(3, 40);
  request.max_tokens = 60;
  const std::vector<uint32_t> free = NaiveChoice(harness.options.model, request, 0).tokens;
  request.eos_token_ids = {free[4], 1000000};
  request.stop_token_ids = {free[9]};

  Reader by_eos = harness.Submit(request);
  request.eos_token_ids = {};  // ignore_eos
  Reader by_stop = harness.Submit(request);
  request.min_tokens = 30;
  Reader delayed = harness.Submit(request);
  harness.Settle();
  for (Reader* reader : {&by_eos, &by_stop, &delayed}) reader->Read();
  CHECK(by_eos.choice(0).finish == EngineFinish::kStop);
  CHECK(by_eos.choice(0).matched_token == free[4]);
  CHECK(by_eos.choice(0).tokens.back() == free[4]);
  CHECK(by_eos.choice(0).tokens.size() <= 5);
  CHECK(by_stop.choice(0).matched_token == free[9]);
  CHECK(delayed.choice(0).tokens.size() > 30);
  CheckAnswer(harness, request, delayed);
}

TEST_CASE("A request ends at max_tokens; 0 generates nothing") {
  Harness harness;
  EngineRequest request = Greedy(3, 70);
  request.num_choices = 2;
  request.max_tokens = GENERATE(0U, 1U, 10U);
  Reader reader = harness.Submit(request);
  harness.Settle();
  CheckAnswer(harness, request, reader);
  CHECK(reader.choice(1).tokens.size() == request.max_tokens);
  CHECK(reader.choice(1).finish == EngineFinish::kLength);
  CHECK(harness.Idle());
}

}  // namespace
}  // namespace latentd
