// Log-probabilities, and prompts that come back.
#include <catch2/catch.hpp>
#include <string>

#include "engine/text/utf8.h"
#include "tests/server/generation_fixture.h"

namespace latentd {
namespace {

using Fixture = testing::GenerationFixture;
using testing::kBos;
using testing::kWord;
using testing::ReadAll;
using testing::TextOf;

TEST_CASE("Log-probabilities carry text and exact bytes of every token") {
  GenerationSpec spec;
  spec.logprobs = true;
  Fixture f{spec};
  f.engine->Scored(TokenEvent::Kind::kToken, 0xC3, -0.5f, {{0xC3, -0.5f, 1}, {kWord, -1.5f, 2}});
  f.engine->Finish(EngineFinish::kLength);
  f.engine->End();
  auto read = ReadAll(*f.stream);
  REQUIRE(read.messages.back().logprobs_size() == 1);
  const v1::TokenLogprob& token = read.messages.back().logprobs(0);
  CHECK(token.token_id() == 0xC3);
  CHECK(token.token() == "\xEF\xBF\xBD");
  CHECK(token.token_bytes() == "\xC3");
  CHECK(token.logprob() == -0.5f);
  CHECK(token.rank() == 1);
  REQUIRE(token.top_size() == 2);
  CHECK(token.top(1).token() == " word");
  CHECK(token.top(1).token_bytes() == " word");
  CHECK(token.top(1).logprob() == -1.5f);
  CHECK(token.top(1).rank() == 2);
}

TEST_CASE("Prompt log-probabilities lead, spread over messages under 1 MiB") {
  Fixture f{GenerationSpec(), 5000};
  std::vector<LogprobEntry> top;
  for (uint32_t i = 0; i < 20; ++i) top.push_back({i, -1.0f - static_cast<float>(i), i + 2});
  f.engine->FirstPromptToken(kBos);
  for (int i = 1; i < 5000; ++i) f.engine->Scored(TokenEvent::Kind::kPrompt, 'x', -1, top);
  f.engine->Text("y");
  f.engine->Finish(EngineFinish::kLength);
  f.engine->End();
  auto read = ReadAll(*f.stream);
  REQUIRE(read.messages.size() > 3);
  int count = 0;
  bool generated = false;
  for (const v1::GenerateResponse& message : read.messages) {
    CHECK(message.ByteSizeLong() < (1u << 20));
    if (message.prompt_logprobs_size() > 0) {
      CHECK_FALSE(generated);
      CHECK(message.token_ids().empty());
    } else {
      generated = true;
    }
    for (const v1::TokenLogprob& token : message.prompt_logprobs()) {
      CHECK(token.has_logprob() == (count > 0));
      CHECK(token.top_size() == (count > 0 ? 20 : 0));
      ++count;
    }
  }
  CHECK(count == 5000);
  CHECK(read.messages[0].prompt_logprobs(0).token_id() == kBos);
  CHECK(TextOf(read) == "y");
}

TEST_CASE("echo opens every choice with the prompt") {
  GenerationSpec spec;
  spec.num_choices = 2;
  spec.echo_text = "hey";
  spec.echo_ids = {kBos, 'h', 'e', 'y'};
  Fixture f{spec, 4};
  auto echo = ReadAll(*f.stream);  // does not wait for the engine
  REQUIRE(echo.messages.size() == 2);
  for (uint32_t i = 0; i < 2; ++i) {
    CHECK(echo.messages[i].choice() == i);
    CHECK(echo.messages[i].text() == "hey");
    CHECK(echo.messages[i].token_ids_size() == 4);
  }
  CHECK(echo.messages[0].has_width());
  CHECK_FALSE(echo.messages[1].has_width());
  f.engine->Text("!", 1);
  f.engine->Finish(EngineFinish::kLength, 0);
  f.engine->Finish(EngineFinish::kLength, 1);
  f.engine->End();
  auto read = ReadAll(*f.stream);
  CHECK(TextOf(read, 0).empty());
  CHECK(TextOf(read, 1) == "!");
  CHECK(read.messages.back().usage().completion_tokens() == 1);
  CHECK(read.messages.back().usage().prompt_tokens() == 4);
}

TEST_CASE("A long echoed prompt is cut between characters") {
  GenerationSpec spec;
  std::string prompt = "x";
  while (prompt.size() < 3 * kMessageBytes) prompt += "€";
  spec.echo_text = prompt;
  spec.echo_ids.assign(100'000, 'x');
  Fixture f{spec};
  auto read = ReadAll(*f.stream);
  CHECK(read.messages.size() >= 4);
  CHECK(TextOf(read) == prompt);
  int ids = 0;
  for (const v1::GenerateResponse& message : read.messages) {
    CHECK(message.ByteSizeLong() < (1u << 20));
    CHECK(IsValidUtf8(message.text()));
    ids += message.token_ids_size();
  }
  CHECK(ids == 100'000);
}

TEST_CASE("max_tokens 0 with echo ends by length without a token") {
  GenerationSpec spec;
  spec.echo_text = "a";
  spec.echo_ids = {'a'};
  Fixture f{spec, 1};
  f.engine->Finish(EngineFinish::kLength);
  f.engine->End();
  auto read = ReadAll(*f.stream);
  REQUIRE(read.messages.size() == 2);
  CHECK(read.messages[1].finish_reason() == v1::FINISH_REASON_LENGTH);
  CHECK(read.messages[1].usage().completion_tokens() == 0);
  CHECK(f.metrics.first_token.empty());
  CHECK(f.metrics.prompt_tokens == 1);
}

}  // namespace
}  // namespace latentd
