// The validator: what fits the context.
#include <string>

#include "tests/server/validate_fixture.h"

namespace latentd {
namespace {

using testing::Bad;
using testing::CheckBad;
using testing::Demo;
using testing::Parse;

// The context is 64 tokens.
absl::StatusOr<EngineRequest> Fit(const std::string& text, size_t prompt, bool chat_defaults) {
  const auto request = Parse<v1::GenerateRequest>(text);
  absl::StatusOr<EngineRequest> engine = ValidateGenerate(request, Demo());
  if (!engine.ok()) return engine;
  engine->prompt.assign(prompt, 5);
  const absl::Status status = FitContext(request, Demo(), chat_defaults, &*engine);
  if (!status.ok()) return status;
  return engine;
}

TEST_CASE("Defaults of max_tokens") {
  CHECK(Fit("text: 'a'", 10, false)->max_tokens == 16);
  CHECK(Fit("text: 'a'", 60, false)->max_tokens == 4);
  CHECK(Fit("text: 'a'", 63, false)->max_tokens == 1);
  CHECK(Fit("text: 'a'", 10, true)->max_tokens == 54);
  CHECK(Fit("text: 'a' stop { max_tokens: 54 }", 10, true)->max_tokens == 54);
  CHECK(Fit("text: 'a' echo: true stop { max_tokens: 0 }", 64, false)->max_tokens == 0);
}

TEST_CASE("What cannot fit the context") {
  struct Case {
    const char* request;
    size_t prompt;
    const char* message;
    const char* param;
  };
  const Case cases[] = {
      {"text: 'a' stop { max_tokens: 55 }", 10,
       "the maximum context length is 64 tokens, but the request asks for 65 (10 in the prompt, 55 "
       "for max_tokens)",
       "max_tokens"},
      {"text: 'a' stop { max_tokens: 4294967295 }", 10,
       "the maximum context length is 64 tokens, but the request asks for 4294967305 (10 in the "
       "prompt, 4294967295 for max_tokens)",
       "max_tokens"},
      {"text: 'a'", 64,
       "the maximum context length is 64 tokens, but the request asks for 65 (64 in the prompt, 1 "
       "for max_tokens)",
       "prompt"},
      {"text: 'a' stop { max_tokens: 2 }", 100,
       "the maximum context length is 64 tokens, but the request asks for 102 (100 in the prompt, "
       "2 for max_tokens)",
       "prompt"},
      {"chat { messages { role: 'user' content: 'x' } }", 70,
       "the maximum context length is 64 tokens, but the request asks for 71 (70 in the prompt, 1 "
       "for max_tokens)",
       "messages"},
      {"text: 'a' echo: true stop { max_tokens: 0 }", 65,
       "the maximum context length is 64 tokens, but the request asks for 65 (65 in the prompt, 0 "
       "for max_tokens)",
       "prompt"},
  };
  for (const Case& c : cases) {
    const absl::Status status = Fit(c.request, c.prompt, false).status();
    CheckBad(status, {c.request, c.message, c.param});
    CHECK(DetailOf(status).code() == "context_length_exceeded");
  }
  const Bad empty{"", "prompt must have at least one token", "prompt"};
  CheckBad(Fit("text: ''", 0, false).status(), empty);
  CheckBad(Fit("text: '' stop { min_tokens: 17 }", 5, false).status(),
           {"", "min_tokens must be at most max_tokens (16), got 17", "min_tokens"});
  CHECK(Fit("text: '' stop { min_tokens: 17 }", 5, true).ok());

  EngineRequest score;
  CheckBad(FitContext(v1::ScoreRequest(), Demo(), score), empty);
  score.prompt.assign(64, 5);
  CHECK(FitContext(v1::ScoreRequest(), Demo(), score).ok());
  score.prompt.push_back(5);
  CHECK(DetailOf(FitContext(v1::ScoreRequest(), Demo(), score)).code() ==
        "context_length_exceeded");
  score.prompt = {5, 1000};
  CheckBad(
      FitContext(v1::ScoreRequest(), Demo(), score),
      {"", "prompt has the token 1000, which is beyond the model's vocabulary of 1000", "prompt"});
}

}  // namespace
}  // namespace latentd
