// Requests that leave early, and readers that do not read.
#include <catch2/catch.hpp>

#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

using std::chrono::microseconds;

EngineRequest Long(uint64_t seed, uint32_t max_tokens = 400) {
  EngineRequest request = Greedy(seed, 90);
  request.max_tokens = max_tokens;
  return request;
}

bool IsPrefix(const std::vector<uint32_t>& part, const std::vector<uint32_t>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

TEST_CASE("A cancelled request ends, its blocks are free, and its neighbours notice nothing") {
  Harness harness;
  Reader leaving = harness.Submit(Long(1)), staying = harness.Submit(Long(2, 100));
  for (int i = 0; i < 20; ++i) harness.Turn();
  leaving.stream->Cancel();
  leaving.stream->Cancel();
  const uint64_t steps = harness.loop->Stats().steps;
  harness.Turn();
  leaving.Read();
  REQUIRE(leaving.end);
  CHECK(leaving.end->status.code() == absl::StatusCode::kCancelled);
  CHECK(leaving.choice(0).tokens.size() == steps);
  CHECK(IsPrefix(leaving.choice(0).tokens, NaiveChoice(harness.options.model, Long(1), 0).tokens));
  harness.Settle();
  staying.Read();
  CHECK(staying.choice(0) == NaiveChoice(harness.options.model, Long(2, 100), 0));
  CHECK_FALSE(leaving.stream->TryPop());
  CHECK(harness.Idle());
}

TEST_CASE("Dropping the stream cancels, before the first turn as well") {
  Harness harness;
  Reader reader = harness.Submit(Long(1));
  if (GENERATE(true, false)) harness.Turn();
  reader.stream.reset();
  harness.Turn();
  CHECK(harness.loop->InFlight() == 0);
  CHECK_FALSE(harness.Turn());
  CHECK(harness.Idle());
}

TEST_CASE("A cancel between layers spoils only its own entry") {
  Reader* leaving = nullptr;
  HarnessOptions options;
  // The second entry is the prefill of a whole block, which would be offered for reuse.
  const int spoilt = GENERATE(2, 31);
  int entries = 0;
  options.mid_entry = [&](size_t) {
    if (leaving != nullptr && ++entries == spoilt) leaving->stream->Cancel();
  };
  Harness harness(options);
  Reader first = harness.Submit(Long(1, 50)), second = harness.Submit(Long(2));
  Reader third = harness.Submit(Long(3, 50));
  leaving = &second;
  harness.Settle();
  first.Read();
  second.Read();
  third.Read();
  CHECK(second.end->status.code() == absl::StatusCode::kCancelled);
  CHECK(IsPrefix(second.choice(0).tokens, NaiveChoice(harness.options.model, Long(2), 0).tokens));
  CHECK(first.choice(0) == NaiveChoice(harness.options.model, Long(1, 50), 0));
  CHECK(third.choice(0) == NaiveChoice(harness.options.model, Long(3, 50), 0));
  // What the spoilt entry wrote is never reused.
  Reader again = harness.Submit(Long(2, 50));
  harness.Settle();
  again.Read();
  CHECK(again.choice(0) == NaiveChoice(harness.options.model, Long(2, 50), 0));
}

TEST_CASE("FinishChoice ends one choice without an event, even with some queued") {
  Harness harness;
  EngineRequest request = Long(4, 60);
  request.num_choices = 3;
  request.sampling.temperature = 1;
  Reader reader = harness.Submit(request);
  for (int i = 0; i < 20; ++i) harness.Turn();
  reader.Read(9);
  const std::vector<uint32_t> read = reader.choice(1).tokens;
  reader.stream->FinishChoice(1);
  harness.Settle({&reader});
  CHECK(reader.choice(1).tokens == read);
  CHECK_FALSE(reader.choice(1).finished);
  for (const uint32_t i : {0U, 2U}) {
    CHECK(reader.choice(i) == NaiveChoice(harness.options.model, request, i));
  }
  CHECK(reader.end->status == absl::OkStatus());
  CHECK(harness.Idle());
}

TEST_CASE("A request whose every choice was finished ends well, started or not") {
  Harness harness;
  EngineRequest request = Long(4);
  request.num_choices = 3;
  Reader reader = harness.Submit(request);
  for (int i = GENERATE(0, 1, 30); i > 0; --i) harness.Turn();
  for (const uint32_t i : {2U, 0U, 1U, 77U}) reader.stream->FinishChoice(i);
  harness.Turn();
  reader.Read();
  REQUIRE(reader.end);
  CHECK(reader.end->status == absl::OkStatus());
  CHECK(harness.Idle());
}

TEST_CASE("Only the request that is not read pauses, and it goes on when it is read") {
  HarnessOptions options;
  options.engine.queue_events = 8;
  Harness harness(options);
  const EngineRequest request = Long(5, 100);
  Reader slow = harness.Submit(request), quick = harness.Submit(Long(6, 100));
  harness.Settle({&quick});
  CHECK(quick.choice(0) == NaiveChoice(harness.options.model, Long(6, 100), 0));
  CHECK_FALSE(harness.Turn());
  CHECK(harness.loop->InFlight() == 1);
  slow.Read(4);  // 8 − 4: not below half
  CHECK_FALSE(harness.Turn());
  slow.Read(1);
  CHECK(harness.Turn());
  harness.Settle();
  slow.Read();
  CHECK(slow.num_events == 3 + 5 + 5);  // full again at 8
  harness.Settle({&slow});
  while (!slow.end) {
    slow.Read();
    harness.Settle();
  }
  CHECK(slow.choice(0) == NaiveChoice(harness.options.model, request, 0));
}

TEST_CASE("Choices that join a paused request are paused too") {
  HarnessOptions options;
  options.engine.queue_events = 8;
  Harness harness(options);
  EngineRequest request = Greedy(5, 40);
  request.num_choices = 2;
  request.prompt_top_logprobs = 0;  // 40 events in the first step
  Reader reader = harness.Submit(request);
  harness.Settle();
  CHECK(harness.loop->Stats().steps == 1);
  while (!reader.end) {
    reader.Read();
    harness.Settle();
  }
  for (const uint32_t i : {0U, 1U}) {
    CHECK(reader.choice(i) == NaiveChoice(harness.options.model, request, i));
  }
}

TEST_CASE("A reader that never reads is given up after the stall timeout") {
  HarnessOptions options;
  options.engine.queue_events = 4;
  options.engine.scheduler.stall_timeout_us = 5'000'000;
  Harness harness(options);
  EngineRequest request = Long(5);
  request.num_choices = 2;
  Reader reader = harness.Submit(request);
  harness.Settle();
  CHECK(harness.loop->InFlight() == 1);
  REQUIRE(harness.loop->NextWakeup());
  harness.clock.Advance(microseconds(5'000'000));
  CHECK(*harness.loop->NextWakeup() <= harness.clock.Now());
  CHECK(harness.Turn());
  reader.Read();
  REQUIRE(reader.end);
  CHECK(reader.end->status.code() == absl::StatusCode::kCancelled);
  CHECK(harness.Idle());
}

TEST_CASE("A deadline ends a request wherever it is: waiting, running or paused") {
  HarnessOptions options;
  options.engine.scheduler.max_num_seqs = 1;
  options.engine.queue_events = 8;
  Harness harness(options);
  Reader paused = harness.Submit([&] {
    EngineRequest request = Long(1);
    request.deadline = harness.clock.Now() + microseconds(20'000);
    return request;
  }());
  harness.Settle();
  EngineRequest request = Long(2);
  request.num_choices = 2;
  request.deadline = harness.clock.Now() + microseconds(3'000);
  Reader running = harness.Submit(request);
  request.deadline = harness.clock.Now() + microseconds(2'000);
  Reader waiting = harness.Submit(request);
  while (harness.Turn()) running.Read();
  waiting.Read();
  for (Reader* reader : {&running, &waiting}) {
    REQUIRE(reader->end);
    CHECK(reader->end->status.code() == absl::StatusCode::kDeadlineExceeded);
  }
  CHECK(running.choice(0).tokens.size() == 3);
  CHECK(waiting.choice(0).tokens.empty());
  CHECK(waiting.end->queue_seconds == Approx(0.002));
  REQUIRE(harness.loop->NextWakeup());  // the paused one, with nothing else to do
  harness.clock.Advance(*harness.loop->NextWakeup() - harness.clock.Now() < microseconds(0)
                            ? microseconds(0)
                            : std::chrono::duration_cast<microseconds>(*harness.loop->NextWakeup() -
                                                                       harness.clock.Now()));
  harness.Settle();
  paused.Read();
  REQUIRE(paused.end);
  CHECK(paused.end->status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK_FALSE(harness.loop->NextWakeup());
  CHECK(harness.Idle());
}

TEST_CASE("A deadline holds for a request that the scheduler has no room for") {
  HarnessOptions options;
  options.engine.queue_events = 4;
  options.engine.scheduler.max_num_seqs = 1;
  options.engine.scheduler.max_waiting = 1;
  Harness harness(options);
  Reader running = harness.Submit(Long(1));
  harness.Turn();
  Reader waiting = harness.Submit(Long(2));
  EngineRequest request = Long(3);
  request.deadline = harness.clock.Now() + microseconds(2'000);
  Reader outside = harness.Submit(request);
  harness.Turn();
  CHECK(harness.loop->NextWakeup() == request.deadline);
  harness.Turn();
  CHECK_FALSE(outside.stream->TryPop());
  harness.Turn();
  outside.Read();
  REQUIRE(outside.end);
  CHECK(outside.end->status.code() == absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("A deadline that passed before the first turn ends a request unplanned") {
  Harness harness;
  EngineRequest request = Long(1);
  request.deadline = harness.clock.Now();
  Reader reader = harness.Submit(request);
  harness.Turn();
  reader.Read();
  REQUIRE(reader.end);
  CHECK(reader.end->status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(harness.loop->Stats().steps == 0);
}

}  // namespace
}  // namespace latentd
