#include "server/scoring.h"

#include <catch2/catch.hpp>
#include <string>

#include "tests/server/byte_tokenizer.h"
#include "tests/server/fake_engine.h"
#include "tests/server/stream_reader.h"

namespace latentd {
namespace {

using testing::FakeTokenStream;
using testing::kBos;
using testing::ReadAll;

struct Fixture {
  explicit Fixture(uint64_t prompt_tokens) {
    v1::Width width;
    width.set_kv(8);
    stream = MakeScoreStream(
        width, engine, tokenizer.get(),
        std::make_unique<RequestMeter>(&metrics, &clock, clock.Now(), prompt_tokens, 1), nullptr);
  }
  testing::CountingMetrics metrics;
  testing::FakeClock clock;
  std::unique_ptr<Tokenizer> tokenizer = testing::MakeByteTokenizer();
  std::shared_ptr<FakeTokenStream> engine = std::make_shared<FakeTokenStream>();
  std::shared_ptr<ScoreStream> stream;
};

TEST_CASE("Scores of all tokens but the first, totals on the last message") {
  Fixture f(3);
  f.engine->FirstPromptToken(kBos);
  f.engine->Scored(TokenEvent::Kind::kPrompt, 'a', -0.5f, {{'b', -0.25f, 1}});
  CHECK(ReadAll(*f.stream).messages.empty());
  f.engine->Scored(TokenEvent::Kind::kPrompt, 'b', -1.25f);
  f.engine->Finish(EngineFinish::kLength);
  f.engine->End(absl::OkStatus(), 0.5);
  auto read = ReadAll(*f.stream);
  CHECK(read.ended == absl::OkStatus());
  REQUIRE(read.messages.size() == 1);
  const v1::ScoreResponse& message = read.messages[0];
  REQUIRE(message.logprobs_size() == 2);
  CHECK(message.logprobs(0).token() == "a");
  CHECK(message.logprobs(0).logprob() == -0.5f);
  CHECK(message.logprobs(0).top(0).token() == "b");
  CHECK(message.total_logprob() == -1.75);
  CHECK(message.num_tokens() == 2);
  CHECK(message.width().kv() == 8);
  CHECK(f.metrics.reasons == std::vector<std::string>{"length"});
  CHECK(f.metrics.prompt_tokens == 3);
  CHECK(f.metrics.generated_tokens == 0);
}

TEST_CASE("A long score comes in pieces under 1 MiB") {
  Fixture f(20'000);
  f.engine->FirstPromptToken('x');
  for (int i = 1; i < 20'000; ++i) f.engine->Scored(TokenEvent::Kind::kPrompt, 'x', -0.5f);
  f.engine->Finish(EngineFinish::kLength);
  f.engine->End();
  auto read = ReadAll(*f.stream);
  REQUIRE(read.messages.size() > 1);
  int tokens = 0;
  for (size_t i = 0; i < read.messages.size(); ++i) {
    const v1::ScoreResponse& message = read.messages[i];
    CHECK(message.ByteSizeLong() < (1u << 20));
    CHECK(message.has_width() == (i == 0));
    CHECK((message.num_tokens() > 0) == (i + 1 == read.messages.size()));
    tokens += message.logprobs_size();
  }
  CHECK(tokens == 19'999);
  CHECK(read.messages.back().num_tokens() == 19'999);
  CHECK(read.messages.back().total_logprob() == -0.5 * 19'999);
}

TEST_CASE("A score that fails gives the error and no totals") {
  Fixture f(2);
  f.engine->FirstPromptToken('x');
  f.engine->End(absl::DeadlineExceededError("late"));
  auto read = ReadAll(*f.stream);
  CHECK(read.messages.empty());
  REQUIRE(read.ended);
  CHECK(read.ended->code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(f.metrics.reasons == std::vector<std::string>{"abort"});
}

}  // namespace
}  // namespace latentd
