// Widths of requests: what the events say is what the tokens were computed at, the same for all
// choices, whether the request named it or the policy settled it.
#include <catch2/catch.hpp>

#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

HarnessOptions Pressure(int64_t num_blocks) {
  HarnessOptions options;
  options.num_blocks = num_blocks;
  options.engine.max_waiting_tokens = 100000;
  options.engine.scheduler.width_ladder = {{40, 4}, {30, 3}, {20, 2}, {10, 1}};
  return options;
}

EngineRequest ByPolicy(uint64_t seed, size_t prompt_tokens) {
  EngineRequest request = Greedy(seed, prompt_tokens);
  request.width_q = 40;
  request.width_kv = 4;
  request.width_by_policy = true;
  return request;
}

// The answer at the width that the end names.
int64_t CheckAnswer(const Harness& harness, EngineRequest request, Reader& reader) {
  reader.Read();
  REQUIRE(reader.end);
  REQUIRE(reader.end->status == absl::OkStatus());
  request.width_q = reader.end->width_q;
  request.width_kv = reader.end->width_kv;
  CHECK(request.width_q == 10 * request.width_kv);
  for (uint32_t i = 0; i < request.num_choices; ++i) {
    INFO("choice " << i);
    REQUIRE(reader.choice(i) == NaiveChoice(harness.options.model, request, i));
  }
  return request.width_kv;
}

}  // namespace

TEST_CASE("A request that names its width has it, whatever the policy") {
  Harness harness(Pressure(64));
  EngineRequest request = ByPolicy(1, 70);
  request.width_by_policy = false;
  request.width_q = 20;
  request.width_kv = 2;
  Reader reader = harness.Submit(request);
  harness.Settle();
  CHECK(CheckAnswer(harness, request, reader) == 2);
}

TEST_CASE("Requests admitted as the pool fills run narrower, and say so") {
  Harness harness(Pressure(20));
  std::vector<EngineRequest> requests;
  std::vector<Reader> readers;
  for (uint64_t seed = 0; seed < 20; ++seed) {  // a block each
    requests.push_back(ByPolicy(seed, 30));
    readers.push_back(harness.Submit(requests.back()));
  }
  harness.Settle();
  std::vector<int64_t> widths;
  for (size_t i = 0; i < 20; ++i) widths.push_back(CheckAnswer(harness, requests[i], readers[i]));
  std::vector<int64_t> expected(20, 4);
  std::fill(expected.begin() + 16, expected.end(), 3);
  std::fill(expected.begin() + 18, expected.end(), 2);
  expected[19] = 1;
  CHECK(widths == expected);
}

TEST_CASE("All choices of a request run at one width, though the pool fills between them") {
  Harness harness(Pressure(10));
  EngineRequest request = ByPolicy(3, 100);
  request.num_choices = 6;
  request.sampling.temperature = 1;
  request.sampling.seed = 5;
  Reader reader = harness.Submit(request);
  harness.Settle();
  CHECK(CheckAnswer(harness, request, reader) == 4);
  CHECK(harness.loop->Stats().prefix_hits > 0);
}

TEST_CASE("Choices whose first one left before it was planned settle the width once") {
  Harness harness(Pressure(20));
  std::vector<Reader> fillers;
  for (uint64_t seed = 0; seed < 15; ++seed) {
    fillers.push_back(harness.Submit(ByPolicy(seed + 50, 30)));
  }
  EngineRequest request = ByPolicy(3, 30);
  request.num_choices = 4;
  Reader reader = harness.Submit(request);
  reader.stream->FinishChoice(0);
  harness.Settle();
  reader.Read();
  REQUIRE(reader.end);
  request.width_q = reader.end->width_q;
  request.width_kv = reader.end->width_kv;
  for (uint32_t i = 1; i < 4; ++i) {
    REQUIRE(reader.choice(i) == NaiveChoice(harness.options.model, request, i));
  }
}

TEST_CASE("Statistics tell blocks by class and the room in use at full width") {
  Harness harness;
  EngineRequest request = Greedy(1, 200);
  Reader reader = harness.Submit(request);
  harness.Turn();
  EngineStats stats = harness.loop->Stats();
  REQUIRE(stats.blocks.size() == 1);
  CHECK(stats.blocks[0].row_latent == 64);
  CHECK(stats.blocks[0].in_use == 4);
  CHECK(stats.tokens_in_use == 4 * 64);
  harness.Settle();
  stats = harness.loop->Stats();
  CHECK(stats.blocks[0].in_use == 0);
  CHECK(stats.blocks[0].reusable == 3);
  CHECK(stats.tokens_reusable == 3 * 64);
}

}  // namespace latentd
