// The validator: sampling fields, and what a request, a checkpoint and OpenAI say of them.
#include <string>

#include "tests/server/validate_fixture.h"

namespace latentd {
namespace {

using testing::Bad;
using testing::CheckBad;
using testing::Demo;
using testing::Parse;

// Sampling fields; each is tried in a text prompt and in a chat.
const Bad kSampling[] = {
    {"temperature: -1", "temperature must be a finite number of at least 0, got -1", "temperature"},
    {"temperature: -0.01", "temperature must be a finite number of at least 0, got -0.01",
     "temperature"},
    {"temperature: nan", "temperature must be a finite number of at least 0, got nan",
     "temperature"},
    {"temperature: inf", "temperature must be a finite number of at least 0, got inf",
     "temperature"},
    {"temperature: -inf", "temperature must be a finite number of at least 0, got -inf",
     "temperature"},
    {"top_p: 0", "top_p must be above 0 and at most 1, got 0", "top_p"},
    {"top_p: -0.1", "top_p must be above 0 and at most 1, got -0.1", "top_p"},
    {"top_p: 1.1", "top_p must be above 0 and at most 1, got 1.1", "top_p"},
    {"top_p: nan", "top_p must be above 0 and at most 1, got nan", "top_p"},
    {"top_p: inf", "top_p must be above 0 and at most 1, got inf", "top_p"},
    {"min_p: -0.5", "min_p must be between 0 and 1, got -0.5", "min_p"},
    {"min_p: 1.5", "min_p must be between 0 and 1, got 1.5", "min_p"},
    {"min_p: nan", "min_p must be between 0 and 1, got nan", "min_p"},
    {"repetition_penalty: 0", "repetition_penalty must be a finite number above 0, got 0",
     "repetition_penalty"},
    {"repetition_penalty: -1", "repetition_penalty must be a finite number above 0, got -1",
     "repetition_penalty"},
    {"repetition_penalty: inf", "repetition_penalty must be a finite number above 0, got inf",
     "repetition_penalty"},
    {"repetition_penalty: nan", "repetition_penalty must be a finite number above 0, got nan",
     "repetition_penalty"},
    {"presence_penalty: 2.5", "presence_penalty must be between -2 and 2, got 2.5",
     "presence_penalty"},
    {"presence_penalty: -2.001", "presence_penalty must be between -2 and 2, got -2.001",
     "presence_penalty"},
    {"presence_penalty: nan", "presence_penalty must be between -2 and 2, got nan",
     "presence_penalty"},
    {"frequency_penalty: 3", "frequency_penalty must be between -2 and 2, got 3",
     "frequency_penalty"},
    {"frequency_penalty: -1e30", "frequency_penalty must be between -2 and 2, got -1e+30",
     "frequency_penalty"},
    {"frequency_penalty: nan", "frequency_penalty must be between -2 and 2, got nan",
     "frequency_penalty"},
    {"top_k: -2", "top_k must be at least 1, or 0 or -1 for off, got -2", "top_k"},
    {"top_k: -2147483648", "top_k must be at least 1, or 0 or -1 for off, got -2147483648",
     "top_k"},
    {"n: 0", "n must be between 1 and 128, got 0", "n"},
    {"n: 129", "n must be between 1 and 128, got 129", "n"},
    {"n: 4294967295", "n must be between 1 and 128, got 4294967295", "n"},
    {"logit_bias { key: 1000 value: 1 }", "logit_bias keys must be token ids below 1000, got 1000",
     "logit_bias"},
    {"logit_bias { key: 4294967295 value: 1 }",
     "logit_bias keys must be token ids below 1000, got 4294967295", "logit_bias"},
    {"logit_bias { key: 5 value: 100.5 }", "logit_bias[5] must be between -100 and 100, got 100.5",
     "logit_bias"},
    {"logit_bias { key: 5 value: -101 }", "logit_bias[5] must be between -100 and 100, got -101",
     "logit_bias"},
    {"logit_bias { key: 5 value: nan }", "logit_bias[5] must be between -100 and 100, got nan",
     "logit_bias"},
    // Of several, the lowest id, whatever the map's order.
    {"logit_bias { key: 9 value: 500 } logit_bias { key: 3 value: 200 } "
     "logit_bias { key: 4 value: 300 } logit_bias { key: 2000 value: 1 }",
     "logit_bias[3] must be between -100 and 100, got 200", "logit_bias"},
    // Of several fields, always the same one.
    {"top_k: -5 temperature: -1 n: 0 top_p: 7",
     "temperature must be a finite number of at least 0, got -1", "temperature"},
    {"n: 0 top_k: -5 top_p: 7", "top_p must be above 0 and at most 1, got 7", "top_p"},
};

TEST_CASE("Sampling fields out of range") {
  for (const Bad& bad : kSampling) {
    for (const char* prompt :
         {"text: 'a'", "token_ids { ids: 1 }", "chat { messages { role: 'user' content: 'a' } }"}) {
      const std::string text = std::string(prompt) + " sampling { " + bad.request + " }";
      CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>(text), Demo()).status(), bad);
    }
  }
}

TEST_CASE("An explicit field beats the checkpoint's default, which beats OpenAI's") {
  ServedModel model = Demo();
  const auto plain = ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a'"), model);
  REQUIRE(plain.ok());
  CHECK(plain->sampling.temperature == 1);
  CHECK(plain->sampling.top_p == 1);
  CHECK(plain->sampling.top_k == 0);
  CHECK(plain->sampling.min_p == 0);
  CHECK(plain->sampling.repetition_penalty == 1);
  CHECK(plain->num_choices == 1);
  CHECK_FALSE(plain->top_logprobs);
  CHECK_FALSE(plain->prompt_top_logprobs);
  CHECK(plain->eos_token_ids == std::vector<uint32_t>{2, 7});

  model.defaults.temperature = 0.25f;
  model.defaults.top_p = 0.5f;
  model.defaults.top_k = 40;
  model.defaults.min_p = 0.125f;
  model.defaults.repetition_penalty = 1.5f;
  const auto shipped = ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a'"), model);
  REQUIRE(shipped.ok());
  CHECK(shipped->sampling.temperature == 0.25f);
  CHECK(shipped->sampling.top_p == 0.5f);
  CHECK(shipped->sampling.top_k == 40);
  CHECK(shipped->sampling.min_p == 0.125f);
  CHECK(shipped->sampling.repetition_penalty == 1.5f);

  const auto given = ValidateGenerate(
      Parse<v1::GenerateRequest>(
          "text: 'a' sampling { temperature: 0 top_p: 1 top_k: -1 min_p: 0 repetition_penalty: 1 "
          "presence_penalty: 0.5 frequency_penalty: -0.5 seed: 9 n: 3 "
          "logit_bias { key: 4 value: 2 } } "
          "stop { ignore_eos: true token_ids: 8 min_tokens: 2 max_tokens: 5 } "
          "logprobs { top: 2 prompt_top: 1 } echo: true logits_hash: true priority: -3"),
      model);
  REQUIRE(given.ok());
  CHECK(given->sampling.temperature == 0);
  CHECK(given->sampling.top_p == 1);
  CHECK(given->sampling.top_k == 0);
  CHECK(given->sampling.min_p == 0);
  CHECK(given->sampling.repetition_penalty == 1);
  CHECK(given->sampling.presence_penalty == 0.5f);
  CHECK(given->sampling.frequency_penalty == -0.5f);
  CHECK(given->sampling.seed == 9);
  CHECK(given->sampling.logit_bias == std::map<uint32_t, float>{{4, 2}});
  CHECK(given->num_choices == 3);
  CHECK(given->eos_token_ids.empty());
  CHECK(given->stop_token_ids == std::vector<uint32_t>{8});
  CHECK(given->min_tokens == 2);
  CHECK(given->max_tokens == 5);
  CHECK(given->top_logprobs == 2u);
  CHECK(given->prompt_top_logprobs == 2u);  // echo shows what the generated tokens show
  CHECK(given->logits_hash);
  CHECK(given->priority == -3);
}

TEST_CASE("Floats are printed by the shortest decimal that reads back") {
  CHECK(PrintFloat(0.1f) == "0.1");
  CHECK(PrintFloat(1.0f) == "1");
  CHECK(PrintFloat(1e30f) == "1e+30");
  CHECK(PrintFloat(-2.001f) == "-2.001");
  CHECK(PrintFloat(16777216.0f) == "16777216");
}

}  // namespace
}  // namespace latentd
