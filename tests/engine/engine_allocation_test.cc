// A steady step of the whole engine allocates nothing: what it needs is kept from step to step.
#include <catch2/catch.hpp>

#include "tests/engine/engine_fixture.h"
#include "tests/fakes/heap_count.h"

namespace latentd {
namespace {

constexpr size_t kRequests = 32, kSteps = 250;

// Greedy, drawn, and drawn with everything that the sampler can do, in turn; of each kind half are
// told all that a token's event can tell.
EngineRequest Request(size_t number) {
  EngineRequest request = Greedy(number, 20);
  request.max_tokens = kSteps + 50;
  if (number / 3 % 2 == 1) {
    request.top_logprobs = kMaxTopLogprobs;
    request.logits_hash = true;
  }
  if (number % 3 >= 1) request.sampling.temperature = 1;
  if (number % 3 == 2) {
    request.sampling.top_k = 16;
    request.sampling.top_p = 0.9F;
    request.sampling.min_p = 0.01F;
    request.sampling.repetition_penalty = 1.1F;
    request.sampling.frequency_penalty = 0.5F;
    request.sampling.logit_bias = {{3, 0.5F}};
    request.stop_token_ids = {40};  // never drawn: outside the vocabulary
  }
  return request;
}

// Two requests wait all the while, one of them with a choice that is not yet due.
TEST_CASE("A steady step with its events read does not touch the heap") {
  HarnessOptions options;
  options.num_blocks = 1024;
  options.engine.scheduler.max_num_seqs = kRequests;
  options.engine.scheduler.max_num_batched_tokens = 2048;
  options.engine.scheduler.max_waiting = kRequests;
  StepReport report;
  options.engine.on_step = [&report](const StepReport& step) { report = step; };
  Harness h(options);
  std::vector<std::shared_ptr<TokenStream>> streams;
  int64_t wakes = 0;
  for (size_t i = 0; i < kRequests; ++i) {
    streams.push_back(h.loop->Submit(Request(i)).value());
    streams.back()->SetWake([&wakes] { ++wakes; });
  }
  REQUIRE(h.Turn());
  EngineRequest choices = Request(0);
  choices.num_choices = 2;
  const Reader waits = h.Submit(choices), waits_too = h.Submit(Request(1));
  size_t tokens = 0, scored = 0;
  const auto step = [&] {
    if (!h.Turn()) return;
    for (const auto& stream : streams) {
      while (const auto event = stream->TryPop()) {
        ++tokens;
        scored +=
            event->logprobs && event->logprobs->top.size() == kMaxTopLogprobs && event->logits_hash;
      }
    }
  };
  for (int i = 0; i < 8; ++i) step();  // queues and scratch grow to what they need
  tokens = scored = 0;
  wakes = 0;
  const int64_t before = HeapAllocations();
  for (size_t i = 0; i < kSteps; ++i) step();  // crosses block edges
  const int64_t after = HeapAllocations();
  CHECK(after - before == 0);
  // What was counted were full steps, each event pushed, woken for and read.
  CHECK(tokens == kSteps * kRequests);
  CHECK(scored == kSteps * (kRequests / 2 - 1));  // 3 … 5, 9 … 11, …, 27 … 29
  CHECK(wakes == static_cast<int64_t>(kSteps * kRequests));
  CHECK(report.decode_tokens == static_cast<int64_t>(kRequests));
  CHECK(h.loop->Stats().sequences_waiting == 3);
}

}  // namespace
}  // namespace latentd
