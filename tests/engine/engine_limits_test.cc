// What is refused, draining and ending everything.
#include <catch2/catch.hpp>

#include "tests/engine/engine_fixture.h"

namespace latentd {
namespace {

absl::Status Refusal(Harness& harness, const EngineRequest& request) {
  return harness.loop->Submit(request).status();
}

TEST_CASE("Requests that can never run are refused with the numbers") {
  HarnessOptions options;
  options.num_blocks = 4;
  options.engine.scheduler.max_context = GENERATE(0, 200);
  Harness harness(options);
  const int64_t context = options.engine.scheduler.max_context > 0 ? 200 : 256;
  EngineRequest request = Greedy(1, 150);
  request.max_tokens = static_cast<uint32_t>(context - 150);
  CHECK(Refusal(harness, request).ok());
  ++request.max_tokens;
  const absl::Status status = Refusal(harness, request);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message() == "prompt of 150 tokens plus max_tokens " +
                                std::to_string(context - 149) + " exceeds the context of " +
                                std::to_string(context) + " tokens");
  request.max_tokens = 0xFFFFFFFF;
  CHECK(Refusal(harness, request).code() == absl::StatusCode::kInvalidArgument);
  harness.Settle();
}

TEST_CASE("Requests that make no sense are refused") {
  Harness harness;
  EngineRequest empty = Greedy(1, 0), outside = Greedy(1, 3), none = Greedy(1, 3), many = none;
  outside.prompt[1] = 32;
  none.num_choices = 0;
  many.num_choices = 129;
  for (const EngineRequest& request : {empty, outside, none, many}) {
    CHECK(Refusal(harness, request).code() == absl::StatusCode::kInvalidArgument);
  }
  CHECK(harness.loop->InFlight() == 0);
}

TEST_CASE("A full queue refuses until a waiting request starts, is cancelled or expires") {
  HarnessOptions options;
  options.engine.scheduler.max_num_seqs = 1;
  options.engine.max_waiting_requests = 2;
  Harness harness(options);
  EngineRequest request = Greedy(1, 10);
  request.num_choices = 3;  // counts once
  Reader first = harness.Submit(request);
  harness.Turn();
  CHECK(harness.loop->Stats().requests_running == 1);
  Reader second = harness.Submit(request), third = harness.Submit(request);
  CHECK_FALSE(harness.loop->CheckRoom().ok());
  CHECK(harness.loop->Stats().requests_waiting == 2);
  const absl::Status full = absl::ResourceExhaustedError(
      "the server is full: 2 requests are waiting, and at most 2 may; try again later");
  CHECK(harness.loop->CheckRoom() == full);
  CHECK(Refusal(harness, request) == full);
  CHECK(harness.loop->InFlight() == 3);
  third.stream->Cancel();
  harness.Turn();
  CHECK(harness.loop->CheckRoom().ok());
  request.deadline = harness.clock.Now() + std::chrono::microseconds(500);
  Reader fourth = harness.Submit(request);
  CHECK_FALSE(harness.loop->CheckRoom().ok());
  harness.Settle();
  CHECK(harness.loop->CheckRoom().ok());
  CHECK(harness.loop->Stats().requests_waiting == 0);
  CHECK(harness.Idle());
}

TEST_CASE("Waiting prompt tokens are limited too") {
  HarnessOptions options;
  options.engine.max_waiting_tokens = 100;
  Harness harness(options);
  Reader first = harness.Submit(Greedy(1, 99));
  CHECK(harness.loop->CheckRoom().ok());
  Reader second = harness.Submit(Greedy(2, 150));
  CHECK_FALSE(harness.loop->CheckRoom().ok());
  const absl::Status full = absl::ResourceExhaustedError(
      "the server is full: 249 prompt tokens are waiting, and at most 100 may; try again later");
  CHECK(harness.loop->CheckRoom() == full);
  CHECK(Refusal(harness, Greedy(3, 1)) == full);
  harness.Turn();
  CHECK(harness.loop->CheckRoom().ok());
  harness.Settle();
}

TEST_CASE("Draining finishes what is there, refuses the rest and says when it is done") {
  Harness harness;
  int drained = 0;
  harness.loop->OnDrained([&] { ++drained; });
  Reader reader = harness.Submit(Greedy(1, 10));
  harness.Turn();
  CHECK(drained == 0);
  harness.loop->Drain();
  const absl::Status status = Refusal(harness, Greedy(1, 10));
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(status.message().find("drain") != std::string::npos);
  harness.Settle({&reader});
  CHECK(reader.choice(0) == NaiveChoice(harness.options.model, Greedy(1, 10), 0));
  CHECK(drained == 1);
  harness.loop->OnDrained([&] { drained += 10; });  // already drained
  harness.Turn();
  CHECK(drained == 11);
}

TEST_CASE("Draining an idle engine is done at once") {
  Harness harness;
  bool drained = false;
  harness.loop->OnDrained([&] { drained = true; });
  harness.Turn();
  CHECK_FALSE(drained);
  harness.loop->Drain();
  harness.Turn();
  CHECK(drained);
}

TEST_CASE("CancelAll ends everything with its status, and later requests run") {
  HarnessOptions options;
  options.engine.scheduler.max_num_seqs = 2;
  Harness harness(options);
  std::vector<Reader> readers;
  for (uint64_t i = 0; i < 5; ++i) {
    EngineRequest request = Greedy(i, 30);
    request.num_choices = 2;
    readers.push_back(harness.Submit(request));
    if (i < 4) harness.Turn();
  }
  harness.loop->CancelAll(absl::UnavailableError("shutting down"));
  Reader later = harness.Submit(Greedy(9, 30));
  harness.Settle();
  for (Reader& reader : readers) {
    reader.Read();
    REQUIRE(reader.end);
    CHECK(reader.end->status == absl::UnavailableError("shutting down"));
  }
  later.Read();
  CHECK(later.choice(0) == NaiveChoice(harness.options.model, Greedy(9, 30), 0));
  CHECK(harness.Idle());
}

}  // namespace
}  // namespace latentd
