#include "server/generation.h"

#include <catch2/catch.hpp>
#include <string>

#include "tests/server/generation_fixture.h"

namespace latentd {
namespace {

using Fixture = testing::GenerationFixture;
using testing::kEos;
using testing::ReadAll;
using testing::TextOf;
using testing::WithStops;

TEST_CASE("An echo waits for the width that a policy settles") {
  GenerationSpec spec;
  spec.echo_ids = {'h'};
  spec.echo_text = "h";
  spec.width_by_policy = true;
  Fixture f{spec};
  CHECK(ReadAll(*f.stream).messages.empty());
  int woken = 0;
  f.stream->SetWake([&] { ++woken; });
  CHECK(woken == 0);
  TokenEvent event;
  event.token = 'i';
  event.width_q = 2;
  event.width_kv = 3;
  f.engine->Push(event);
  CHECK(woken == 1);
  const auto read = ReadAll(*f.stream);
  REQUIRE(read.messages.size() == 2);
  CHECK(read.messages[0].text() == "h");
  CHECK(read.messages[0].width().q() == 2);
  CHECK(read.messages[0].width().kv() == 3);
  CHECK(read.messages[1].text() == "i");
  CHECK_FALSE(read.messages[1].has_width());
}

TEST_CASE("A request that ends before it was planned still has its end") {
  GenerationSpec spec;
  spec.echo_ids = {'h'};
  spec.echo_text = "h";
  spec.width_by_policy = true;
  Fixture f{spec};
  f.engine->End(absl::CancelledError("gone"));
  const auto read = ReadAll(*f.stream);
  CHECK(read.ended.has_value());
}

TEST_CASE("Tokens become text, and the last message has usage and timing") {
  Fixture f{GenerationSpec()};
  f.clock.ms += 250;
  f.engine->Text("h");
  auto first = ReadAll(*f.stream);
  REQUIRE(first.messages.size() == 1);
  CHECK(first.messages[0].request_id() == "r1");
  CHECK(first.messages[0].width().q() == 4);
  CHECK(first.messages[0].text() == "h");
  CHECK(first.messages[0].token_ids().at(0) == 'h');
  CHECK(first.messages[0].logprobs().empty());
  CHECK_FALSE(first.messages[0].has_usage());
  CHECK_FALSE(first.ended);

  f.clock.ms += 50;
  f.engine->Text("i");
  f.clock.ms += 50;
  f.engine->Finish(EngineFinish::kLength);
  // The last message waits for the end, which brings its totals.
  CHECK(ReadAll(*f.stream).messages.empty());
  f.engine->End(absl::OkStatus(), 0.125, 2);
  auto last = ReadAll(*f.stream);
  REQUIRE(last.messages.size() == 1);
  CHECK(last.ended == absl::OkStatus());
  const v1::GenerateResponse& message = last.messages[0];
  CHECK(message.request_id() == "r1");
  CHECK_FALSE(message.has_width());
  CHECK(message.text() == "i");
  CHECK(message.finish_reason() == v1::FINISH_REASON_LENGTH);
  CHECK_FALSE(message.has_matched_token_id());
  CHECK(message.usage().prompt_tokens() == 3);
  CHECK(message.usage().completion_tokens() == 2);
  CHECK(message.usage().cached_prompt_tokens() == 2);
  CHECK(message.timing().queue_seconds() == 0.125);
  CHECK(message.timing().time_to_first_token_seconds() == Approx(0.25));
  CHECK(message.timing().total_seconds() == Approx(0.35));

  CHECK(f.metrics.reasons == std::vector<std::string>{"length"});
  CHECK(f.metrics.last.prompt_tokens == 3);
  CHECK(f.metrics.last.generation_tokens == 2);
  CHECK(f.metrics.last.queue_seconds == 0.125);
  CHECK(f.metrics.last.e2e_seconds == Approx(0.35));
  CHECK(f.metrics.prompt_tokens == 3);
  CHECK(f.metrics.generated_tokens == 2);
  CHECK(f.metrics.first_token == std::vector<double>{0.25});
  REQUIRE(f.metrics.gaps.size() == 1);
  CHECK(f.metrics.gaps[0] == Approx(0.1));
  CHECK(f.ticket.use_count() == 1);
}

TEST_CASE("Choices are apart, and each ends once") {
  GenerationSpec spec = WithStops({"!"});
  spec.num_choices = 3;
  Fixture f{spec};
  f.engine->Text("a", 0);
  f.engine->Text("b", 1);
  f.engine->Text("c!", 2);
  f.engine->Finish(EngineFinish::kLength, 1);
  f.engine->Text("A", 0);
  f.engine->Finish(EngineFinish::kStop, 0, kEos);
  f.engine->End();
  auto read = ReadAll(*f.stream);
  CHECK(read.ended == absl::OkStatus());
  CHECK(TextOf(read, 0) == "aA");
  CHECK(TextOf(read, 1) == "b");
  CHECK(TextOf(read, 2) == "c");
  CHECK(f.engine->finished == std::vector<uint32_t>{2});
  std::vector<int> ends(3);
  for (size_t i = 0; i < read.messages.size(); ++i) {
    const v1::GenerateResponse& message = read.messages[i];
    CHECK(ends.at(message.choice()) == 0);  // nothing follows a choice's last message
    if (message.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) ++ends[message.choice()];
    CHECK(message.has_usage() == (i + 1 == read.messages.size()));
    CHECK(message.has_timing() == message.has_usage());
    CHECK(message.has_width() == (i == 0));
  }
  CHECK(ends == std::vector<int>{1, 1, 1});
  CHECK(read.messages.back().usage().completion_tokens() == 5);
  CHECK(read.messages.back().usage().prompt_tokens() == 3);
  CHECK(f.metrics.reasons.size() == 1);
  CHECK(f.metrics.first_token.size() == 1);
  CHECK(f.metrics.gaps.size() == 2);
}

TEST_CASE("A slow reader gets several tokens in one message") {
  Fixture f{GenerationSpec()};
  f.engine->Text("many tokens");
  auto read = ReadAll(*f.stream);
  REQUIRE(read.messages.size() == 1);
  CHECK(read.messages[0].text() == "many tokens");
  CHECK(read.messages[0].token_ids_size() == 11);
}

TEST_CASE("An error ends the stream after what was generated") {
  struct Case {
    absl::Status status;
    const char* reason;
    absl::StatusCode shown;
  };
  const Case cases[] = {
      {absl::DeadlineExceededError("late"), "abort", absl::StatusCode::kDeadlineExceeded},
      {absl::CancelledError("gone"), "abort", absl::StatusCode::kCancelled},
      {absl::UnavailableError("drain"), "abort", absl::StatusCode::kUnavailable},
      {absl::InternalError("secret"), "error", absl::StatusCode::kInternal},
      {absl::OkStatus(), "error", absl::StatusCode::kInternal},  // without kFinish: a fault
  };
  for (const Case& c : cases) {
    Fixture f{GenerationSpec()};
    f.engine->Text("ab");
    f.engine->End(c.status, 0.5);
    auto read = ReadAll(*f.stream);
    CHECK(TextOf(read) == "ab");
    REQUIRE(read.messages.size() == 1);
    CHECK(read.messages[0].finish_reason() == v1::FINISH_REASON_UNSPECIFIED);
    CHECK_FALSE(read.messages[0].has_usage());
    REQUIRE(read.ended);
    CHECK(read.ended->code() == c.shown);
    CHECK(std::string(read.ended->message()).find("secret") == std::string::npos);
    CHECK(f.metrics.reasons == std::vector<std::string>{c.reason});
  }
}

TEST_CASE("A request whose choices are all over succeeds, whatever follows") {
  Fixture f{WithStops({"!"})};
  f.engine->Text("a!");
  CHECK(ReadAll(*f.stream).messages.empty());
  f.engine->End(absl::DeadlineExceededError("late"));
  auto read = ReadAll(*f.stream);
  CHECK(read.ended == absl::OkStatus());
  CHECK(TextOf(read) == "a");
  CHECK(f.metrics.reasons == std::vector<std::string>{"stop"});
}

TEST_CASE("A dropped stream is an aborted request") {
  Fixture f{GenerationSpec()};
  f.engine->Text("a");
  ReadAll(*f.stream);
  f.stream.reset();
  CHECK(f.metrics.reasons == std::vector<std::string>{"abort"});
  CHECK(f.metrics.last.generation_tokens == 1);
  CHECK(f.ticket.use_count() == 1);
  CHECK(f.engine.use_count() == 1);  // which cancels it in the engine
}

TEST_CASE("Cancel reaches the engine and ends the stream") {
  Fixture f{GenerationSpec()};
  f.stream->Cancel();
  CHECK(f.engine->cancelled);
  auto read = ReadAll(*f.stream);
  REQUIRE(read.ended);
  CHECK(read.ended->code() == absl::StatusCode::kCancelled);
}

TEST_CASE("Wakes come whenever there may be something") {
  GenerationSpec spec;
  SECTION("at once for an echo") {
    spec.echo_text = "a";
    spec.echo_ids = {'a'};
    Fixture f{spec};
    int wakes = 0;
    f.stream->SetWake([&] { ++wakes; });
    CHECK(wakes == 1);
  }
  SECTION("at each event after there was nothing") {
    Fixture f{spec};
    int wakes = 0;
    f.stream->SetWake([&] { ++wakes; });
    CHECK(wakes == 0);
    f.engine->Text("a");
    CHECK(wakes == 1);
    ReadAll(*f.stream);
    f.engine->Text("b");
    CHECK(wakes == 2);
  }
  SECTION("at once for an event held back by a change of choice") {
    spec.num_choices = 2;
    Fixture f{spec};
    f.engine->Text("a", 0);
    f.engine->Text("b", 1);
    REQUIRE(f.stream->TryNext().message);
    int wakes = 0;
    f.stream->SetWake([&] { ++wakes; });
    CHECK(wakes == 1);
  }
}

TEST_CASE("The hash of the logits is on the choice's last message") {
  Fixture f{WithStops({"b"})};
  TokenEvent event;
  event.token = 'a';
  event.logits_hash.emplace().fill('1');
  SECTION("when the engine ends the choice") {
    f.engine->Push(event);
    event.kind = TokenEvent::Kind::kFinish;
    event.logits_hash.emplace().fill('2');
    f.engine->Push(event);
  }
  SECTION("when a stop string does, up to its last token") {
    f.engine->Push(event);
    event.token = 'b';
    event.logits_hash.emplace().fill('2');
    f.engine->Push(event);
    event.token = 'c';
    event.logits_hash.emplace().fill('3');
    f.engine->Push(event);
  }
  f.engine->End();
  CHECK(ReadAll(*f.stream).messages.back().logits_hash() == std::string(16, '2'));
}

}  // namespace
}  // namespace latentd
