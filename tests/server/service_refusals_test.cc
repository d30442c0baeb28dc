// Who is turned away, and how that is told and counted.
#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <string>
#include <utility>

#include "server/errors.h"
#include "tests/server/service_fixture.h"

namespace latentd {
namespace {

using Fixture = testing::ServiceFixture;
using testing::ReadAll;
using testing::Result;
using testing::TextOf;
using testing::TextPrompt;

TEST_CASE("Each refusal is counted once, and tells why") {
  Fixture f;
  const auto refused = [&](const absl::Status& status, Refusal reason) {
    CHECK_FALSE(status.ok());
    CHECK(f.metrics.refusals == std::vector<Refusal>{reason});
    CHECK(f.metrics.reasons.empty());
    f.metrics.refusals.clear();
  };
  v1::GenerateRequest bad = TextPrompt("x");
  bad.mutable_sampling()->set_n(0);
  refused(f.Generate(bad).status(), Refusal::kInvalid);
  v1::GenerateRequest other = TextPrompt("x");
  other.set_model("other");
  refused(f.Generate(other).status(), Refusal::kNotFound);
  v1::GenerateRequest large = TextPrompt(std::string(64, 'x'));
  const auto too_long = f.Generate(large).status();
  CHECK(DetailOf(too_long).code() == "context_length_exceeded");
  refused(too_long, Refusal::kInvalid);

  CallContext late;
  late.deadline = f.clock.Now();
  const auto expired = f.Generate(TextPrompt("x"), late).status();
  CHECK(expired.code() == absl::StatusCode::kDeadlineExceeded);
  refused(expired, Refusal::kDeadline);

  f.engine.room = absl::ResourceExhaustedError("the server is full: 9 prompt tokens are waiting");
  const auto full = f.Generate(TextPrompt("x")).status();
  CHECK(full.code() == absl::StatusCode::kResourceExhausted);
  CHECK(full.message() == f.engine.room.message());  // the engine knows what there is too much of
  CHECK(DetailOf(full).retry_after_seconds() >= 1);
  refused(full, Refusal::kFull);
  f.engine.room = absl::OkStatus();

  f.engine.submit_status = absl::ResourceExhaustedError("8 requests are waiting");
  refused(f.Generate(TextPrompt("x")).status(), Refusal::kFull);
  f.engine.submit_status = absl::UnavailableError("going");
  const auto leaving = f.Generate(TextPrompt("x")).status();
  CHECK(std::string(leaving.message()).find("drain") != std::string::npos);
  refused(leaving, Refusal::kDraining);
  f.engine.submit_status = absl::InternalError("secret");
  const auto fault = f.Generate(TextPrompt("x")).status();
  CHECK(std::string(fault.message()).find("secret") == std::string::npos);
  refused(fault, Refusal::kOther);
}

TEST_CASE("A key of chat_template_kwargs that the request has itself is refused as theirs") {
  Fixture f;
  v1::GenerateRequest request;
  *request.mutable_chat() = testing::OneMessage("hi");
  request.mutable_chat()->set_chat_template_kwargs_json(R"({"messages":[]})");
  const auto status = f.Generate(request).status();
  CHECK(DetailOf(status).param() == "chat_template_kwargs");
  CHECK(std::string(status.message()).find("\"messages\" is a field of the request") !=
        std::string::npos);
}

TEST_CASE(
    "A text far beyond the context is refused without being counted, with the numbers known") {
  Fixture f;  // a context of 64; the longest token, " word", has 5 bytes
  const std::string text(1001, 'x');
  v1::GenerateRequest plain = TextPrompt(text), asking = TextPrompt(text), chat;
  asking.mutable_stop()->set_max_tokens(7);
  *chat.mutable_chat() = testing::OneMessage(text);  // "user: …\nassistant:": 1018 bytes
  v1::ScoreRequest score;
  score.set_text(text);
  const auto is_refused = [&f](const absl::Status& status, const std::string& param,
                               const std::string& numbers) {
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(DetailOf(status).code() == "context_length_exceeded");
    CHECK(DetailOf(status).param() == param);
    CHECK(std::string(status.message()) ==
          "the maximum context length is 64 tokens, but the request asks for at least " + numbers);
    CHECK(f.metrics.refusals == std::vector<Refusal>{Refusal::kInvalid});
    f.metrics.refusals.clear();
  };
  is_refused(f.Generate(plain).status(), "prompt",
             "202 (at least 201 in the prompt, 1 for max_tokens)");
  is_refused(f.Generate(asking).status(), "prompt",
             "208 (at least 201 in the prompt, 7 for max_tokens)");
  is_refused(f.Generate(chat).status(), "messages",
             "205 (at least 204 in the prompt, 1 for max_tokens)");
  is_refused(f.Score(score).status(), "prompt",
             "201 (at least 201 in the prompt, 0 for max_tokens)");
  // One that is not twice too long is counted.
  const auto counted = f.Generate(TextPrompt(std::string(100, 'x'))).status();
  CHECK(std::string(counted.message()).find("asks for 102 (101 in the prompt, 1 for") !=
        std::string::npos);
}

TEST_CASE("A body too many is refused before it is tokenized") {
  Fixture f;
  f.parts.max_pending_bytes = 2000;
  std::promise<void> started, go;  // both are done with before `done` is set
  f.parts.random_seed = [&] {      // holds the only preparation thread
    started.set_value();
    go.get_future().wait();
    return uint64_t{1};
  };
  auto done = std::make_shared<std::promise<void>>();
  f.service().Generate(TextPrompt("x"), {}, [done](auto) { done->set_value(); });
  started.get_future().wait();
  const auto second = f.Generate(TextPrompt(std::string(2000, 'x'))).status();
  CHECK(second.code() == absl::StatusCode::kResourceExhausted);
  CHECK(DetailOf(second).http_status() == 503);
  CHECK(f.metrics.refusals == std::vector<Refusal>{Refusal::kFull});
  CHECK(f.service().InFlight() == 1);
  go.set_value();
  done->get_future().wait();
}

TEST_CASE("What waits for preparation is not begun for a caller who left or whose time is over") {
  Fixture f;
  std::promise<void> started, go;
  f.parts.random_seed = [&, first = true]() mutable {  // holds the only preparation thread
    if (std::exchange(first, false)) {
      started.set_value();
      go.get_future().wait();
    }
    return uint64_t{1};
  };
  using Answer = Result<std::shared_ptr<GenerateStream>>;
  const auto begin = [&f](const std::string& text, CallContext context) {
    auto answer = std::make_shared<std::promise<Answer>>();
    f.service().Generate(TextPrompt(text), std::move(context),
                         [answer](Answer result) { answer->set_value(std::move(result)); });
    return answer->get_future();
  };
  auto running = begin("a", {});
  started.get_future().wait();
  std::atomic<bool> gone{false};
  CallContext leaving, late, patient;
  leaving.left = [&gone] { return gone.load(); };
  patient.left = [] { return false; };
  late.deadline = f.clock.Now() + std::chrono::seconds(1);
  auto left = begin("b", leaving), overdue = begin("c", late), kept = begin("d", patient);
  gone = true;
  f.clock.ms += 1000;
  go.set_value();
  CHECK(left.get().status().code() == absl::StatusCode::kCancelled);
  CHECK(overdue.get().status().code() == absl::StatusCode::kDeadlineExceeded);
  const Answer first = running.get(), last = kept.get();
  CHECK(first.ok());
  CHECK(last.ok());
  REQUIRE(f.engine.requests.size() == 2);
  CHECK(f.engine.requests[1].prompt == testing::WithBos("d"));
  CHECK(f.metrics.refusals == std::vector<Refusal>{Refusal::kOther, Refusal::kDeadline});
}

TEST_CASE("No text is tokenized for a caller who left or whose time is over") {
  Fixture f;
  v1::TokenizeRequest request;
  request.set_text("x");
  CallContext left, late;
  left.left = [] { return true; };
  late.deadline = f.clock.Now();
  CHECK(f.Tokenize(request, left).status().code() == absl::StatusCode::kCancelled);
  CHECK(f.Tokenize(request, late).status().code() == absl::StatusCode::kDeadlineExceeded);
  left.left = [] { return false; };
  CHECK(f.Tokenize(request, left).ok());
}

TEST_CASE("Draining refuses new work of every kind and is told to the engine") {
  Fixture f;
  auto running = f.Generate(TextPrompt("x"));
  REQUIRE(running.ok());
  CHECK(f.service().GetStatus().ready());
  f.service().Drain();
  f.service().Drain();
  CHECK(f.engine.drained);
  CHECK(f.service().draining());
  CHECK_FALSE(f.service().GetStatus().ready());
  CHECK(f.service().GetStatus().draining());
  v1::ScoreRequest score;
  score.set_text("x");
  v1::TokenizeRequest tokenize;
  tokenize.set_text("x");
  for (const absl::Status& status : {f.Generate(TextPrompt("x")).status(), f.Score(score).status(),
                                     f.Tokenize(tokenize).status(), f.Detokenize({}).status()}) {
    CHECK(status.code() == absl::StatusCode::kUnavailable);
    CHECK(std::string(status.message()).find("drain") != std::string::npos);
  }
  CHECK(f.metrics.refusals == std::vector<Refusal>(4, Refusal::kDraining));
  // What runs goes on, and its end is told.
  int drained = 0;
  f.service().OnDrained([&] { ++drained; });
  REQUIRE(f.engine.on_drained);
  f.engine.last.lock()->Text("y");
  CHECK(TextOf(ReadAll(**running)) == "y");
  CHECK(drained == 0);
  CHECK(f.service().InFlight() == 1);
  running->reset();
  CHECK(drained == 1);
  CHECK(f.service().InFlight() == 0);
  f.service().CutOff();
  CHECK(f.engine.cut_off.code() == absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace latentd
