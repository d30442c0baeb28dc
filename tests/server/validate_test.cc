// The validator: prompts, chats, stops, log-probabilities, and the requests beside Generate.
#include <string>

#include "tests/server/validate_fixture.h"

namespace latentd {
namespace {

using testing::Bad;
using testing::CheckBad;
using testing::Demo;
using testing::Parse;

const Bad kGenerate[] = {
    // Prompts.
    {"", "prompt is required", "prompt"},
    {"model: 'demo'", "prompt is required", "prompt"},
    {"token_ids {}", "prompt must not be empty", "prompt"},
    {"token_ids { ids: 1000 }", "prompt[0] must be a token id below 1000, got 1000", "prompt[0]"},
    {"token_ids { ids: 1 ids: 2 ids: 4294967295 }",
     "prompt[2] must be a token id below 1000, got 4294967295", "prompt[2]"},
    // Chat.
    {"chat {}", "messages must not be empty", "messages"},
    {"chat { messages {} }",
     "messages[0].role must be one of system, developer, user, assistant, tool, got \"\"",
     "messages[0].role"},
    {"chat { messages { role: 'bot' content: 'x' } }",
     "messages[0].role must be one of system, developer, user, assistant, tool, got \"bot\"",
     "messages[0].role"},
    {"chat { messages { role: 'user' content: 'x' } messages { role: 'User' content: 'x' } }",
     "messages[1].role must be one of system, developer, user, assistant, tool, got \"User\"",
     "messages[1].role"},
    {"chat { messages { role: "
     "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxyy' content: 'x' } }",
     "messages[0].role must be one of system, developer, user, assistant, tool, got "
     "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\"",
     "messages[0].role"},
    {"chat { messages { role: 'user' } }", "messages[0].content must not be null for the role user",
     "messages[0].content"},
    {"chat { messages { role: 'system' } }",
     "messages[0].content must not be null for the role system", "messages[0].content"},
    {"chat { messages { role: 'assistant' } messages { role: 'tool' } }",
     "messages[1].content must not be null for the role tool", "messages[1].content"},
    {"chat { messages { role: 'user' content: 'x' extra_json: '[]' } }",
     "messages[0] must be an object, not an array", "messages[0]"},
    {"chat { messages { role: 'assistant' tool_calls_json: '{}' tool_calls_json: '3' } }",
     "messages[0].tool_calls[1] must be an object, not an integer", "messages[0].tool_calls[1]"},
    {"chat { messages { role: 'user' content: 'x' } chat_template_kwargs_json: '3' }",
     "chat_template_kwargs must be an object, not an integer", "chat_template_kwargs"},
    {"chat { messages { role: 'user' content: 'x' } tools_json: '{}' }", "tools is not served yet",
     "tools"},
    {"chat { messages { role: 'user' content: 'x' } tool_choice_json: '\"auto\"' }",
     "tool_choice must be \"none\": tools is not served yet", "tool_choice"},
    {"chat { messages { role: 'user' content: 'x' } tool_choice_json: '\"required\"' }",
     "tool_choice must be \"none\": tools is not served yet", "tool_choice"},
    {"chat { messages { role: 'user' content: 'x' } continue_final_message: true "
     "add_generation_prompt: true }",
     "continue_final_message and add_generation_prompt must not both be true",
     "continue_final_message"},
    {"chat { messages { role: 'assistant' } continue_final_message: true }",
     "continue_final_message needs a last message with content", "continue_final_message"},
    // Stop.
    {"text: 'a' stop { max_tokens: 0 }",
     "max_tokens must be at least 1, unless echo asks for the prompt alone, got 0", "max_tokens"},
    {"chat { messages { role: 'user' content: 'x' } } stop { max_tokens: 0 }",
     "max_tokens must be at least 1, unless echo asks for the prompt alone, got 0", "max_tokens"},
    {"text: 'a' stop { max_tokens: 3 min_tokens: 4 }",
     "min_tokens must be at most max_tokens (3), got 4", "min_tokens"},
    {"text: 'a' echo: true stop { max_tokens: 0 min_tokens: 1 }",
     "min_tokens must be at most max_tokens (0), got 1", "min_tokens"},
    {"text: 'a' stop { strings: '' }", "stop[0] must not be empty", "stop[0]"},
    {"text: 'a' stop { strings: 'x' strings: '' }", "stop[1] must not be empty", "stop[1]"},
    {"text: 'a' stop { token_ids: 1000 }",
     "stop_token_ids[0] must be a token id below 1000, got 1000", "stop_token_ids[0]"},
    {"text: 'a' stop { token_ids: 1 token_ids: 70000 }",
     "stop_token_ids[1] must be a token id below 1000, got 70000", "stop_token_ids[1]"},
    // Log-probabilities: completions and chat name the same field differently.
    {"text: 'a' logprobs { top: 21 }", "logprobs must be between 0 and 20, got 21", "logprobs"},
    {"token_ids { ids: 1 } logprobs { top: 4294967295 }",
     "logprobs must be between 0 and 20, got 4294967295", "logprobs"},
    {"chat { messages { role: 'user' content: 'x' } } logprobs { top: 21 }",
     "top_logprobs must be between 0 and 20, got 21", "top_logprobs"},
    {"text: 'a' logprobs { prompt_top: 21 }", "prompt_logprobs must be between 0 and 20, got 21",
     "prompt_logprobs"},
    // Not served yet.
    {"text: 'a' constraint { json_schema: '{}' }", "structured_outputs is not served yet",
     "structured_outputs"},
    {"text: 'a' constraint { regex: 'a+' }", "structured_outputs is not served yet",
     "structured_outputs"},
    {"text: 'a' constraint { lark: 'x' }", "structured_outputs is not served yet",
     "structured_outputs"},
    {"text: 'a' constraint { choice { options: 'x' } }", "structured_outputs is not served yet",
     "structured_outputs"},
    {"text: 'a' constraint { json_object: true }", "structured_outputs is not served yet",
     "structured_outputs"},
    {"text: 'a' width { q: 96 }", "width.q must be 192, the only rank of this model, got 96",
     "width.q"},
    {"text: 'a' width { q: 0 }", "width.q must be 192, the only rank of this model, got 0",
     "width.q"},
    {"text: 'a' width { kv: 64 }", "width.kv must be 128, the only rank of this model, got 64",
     "width.kv"},
    {"text: 'a' width { q: 192 kv: 129 }",
     "width.kv must be 128, the only rank of this model, got 129", "width.kv"},
};

TEST_CASE("Generate requests that are refused before tokenizing") {
  for (const Bad& bad : kGenerate) {
    CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>(bad.request), Demo()).status(), bad);
  }
}

TEST_CASE("Sizes and encodings") {
  v1::GenerateRequest request;
  request.set_text("a");
  SECTION("64 stop strings are the most") {
    for (int i = 0; i < 64; ++i) request.mutable_stop()->add_strings("x");
    CHECK(ValidateGenerate(request, Demo()).ok());
    request.mutable_stop()->add_strings("x");
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"65 stops", "stop must have at most 64 strings, got 65", "stop"});
  }
  SECTION("A long stop string") {
    request.mutable_stop()->add_strings(std::string(65536, 'x'));
    CHECK(ValidateGenerate(request, Demo()).ok());
    *request.mutable_stop()->mutable_strings(0) += "x";
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"long stop", "stop[0] must be at most 65536 bytes, got 65537", "stop[0]"});
  }
  SECTION("A long request id") {
    request.set_request_id(std::string(1024, 'x'));
    CHECK(ValidateGenerate(request, Demo()).ok());
    request.set_request_id(std::string(1025, 'x'));
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"long id", "request_id must be at most 1024 bytes, got 1025", "request_id"});
  }
  SECTION("A prompt that is not UTF-8") {
    for (const char* bytes : {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80"}) {
      request.set_text(bytes);
      CheckBad(ValidateGenerate(request, Demo()).status(),
               {"text", "prompt must be valid UTF-8", "prompt"});
    }
  }
  SECTION("Other strings that are not UTF-8") {
    request.mutable_stop()->add_strings("\xff");
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"stop", "stop[0] must be valid UTF-8", "stop[0]"});
    request.set_cache_salt("\xff");
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"salt", "cache_salt must be valid UTF-8", "cache_salt"});
    request.set_request_id("\xff");
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"id", "request_id must be valid UTF-8", "request_id"});
  }
  SECTION("In a chat") {
    v1::Message* message = request.mutable_chat()->add_messages();
    message->set_role("user");
    message->set_content("\xff");
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"content", "messages[0].content must be valid UTF-8", "messages[0].content"});
    message->set_content("");
    message->set_name("\xff");
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"name", "messages[0].name must be valid UTF-8", "messages[0].name"});
    message->set_name("");
    message->set_role("\xff");
    CheckBad(ValidateGenerate(request, Demo()).status(),
             {"role",
              "messages[0].role must be one of system, developer, user, assistant, tool, got "
              "\"\xEF\xBF\xBD\"",
              "messages[0].role"});
  }
}

TEST_CASE("Requests that are fine") {
  const char* const kGood[] = {
      "text: ''",
      "text: 'a' model: 'demo'",
      "token_ids { ids: 0 ids: 999 }",
      "text: 'a' sampling { temperature: 0 }",
      "text: 'a' sampling { temperature: 3.4e38 }",
      "text: 'a' sampling { temperature: 1e-45 }",
      "text: 'a' sampling { top_p: 1 min_p: 0 top_k: 0 }",
      "text: 'a' sampling { top_p: 1e-10 min_p: 1 top_k: -1 }",
      "text: 'a' sampling { top_k: 2147483647 }",
      "text: 'a' sampling { repetition_penalty: 0.01 }",
      "text: 'a' sampling { presence_penalty: 2 frequency_penalty: -2 }",
      "text: 'a' sampling { n: 128 seed: 18446744073709551615 }",
      "text: 'a' sampling { logit_bias { key: 999 value: -100 } logit_bias { key: 0 value: 100 } }",
      "text: 'a' stop { max_tokens: 1 min_tokens: 1 }",
      "text: 'a' echo: true stop { max_tokens: 0 }",
      "text: 'a' stop { strings: 'x' token_ids: 0 token_ids: 999 ignore_eos: true }",
      "text: 'a' logprobs { top: 0 prompt_top: 20 }",
      "text: 'a' constraint {}",
      "text: 'a' width {}",
      "text: 'a' width { q: 192 }",
      "text: 'a' width { q: 192 kv: 128 }",
      "text: 'a' priority: -2147483648 cache_salt: 'x'",
      "chat { messages { role: 'developer' content: '' } }",
      "chat { messages { role: 'assistant' } }",
      "chat { messages { role: 'user' content: 'x' name: 'n' extra_json: ' {\"k\": 1}' } }",
      "chat { messages { role: 'tool' content: 'x' tool_call_id: 'c' } }",
      "chat { messages { role: 'user' content: 'x' } tool_choice_json: '\"none\"' }",
      "chat { messages { role: 'user' content: 'x' } continue_final_message: true }",
      "chat { messages { role: 'user' content: 'x' } continue_final_message: true "
      "add_generation_prompt: false }",
      "chat { messages { role: 'user' content: 'x' } chat_template_kwargs_json: '{\"a\": [1]}' }",
  };
  for (const char* text : kGood) {
    CAPTURE(text);
    CHECK(ValidateGenerate(Parse<v1::GenerateRequest>(text), Demo()).status() == absl::OkStatus());
  }
}

TEST_CASE("Another model's name") {
  const absl::Status status =
      ValidateGenerate(Parse<v1::GenerateRequest>("model: 'x' sampling { n: 0 }"), Demo()).status();
  CHECK(status.message() == "The model \"x\" does not exist; \"demo\" is served");
  CHECK(DetailOf(status).code() == "model_not_found");
  CHECK(ValidateModel("", Demo()).ok());
  CHECK(ValidateModel("demo", Demo()).ok());
  CHECK(ValidateModel("Demo", Demo()).code() == absl::StatusCode::kNotFound);
}

TEST_CASE("A model without a chat template refuses messages") {
  ServedModel model = Demo();
  model.has_chat_template = false;
  const char* text = "chat { messages { role: 'user' content: 'x' } }";
  CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>(text), model).status(),
           {text, "messages need a chat template, and this model has none; use a plain prompt",
            "messages"});
}

TEST_CASE("Score, Tokenize and Detokenize") {
  const Bad kScore[] = {
      {"", "prompt is required", "prompt"},
      {"token_ids {}", "prompt must not be empty", "prompt"},
      {"token_ids { ids: 1000 }", "prompt[0] must be a token id below 1000, got 1000", "prompt[0]"},
      {"text: 'a' top: 21", "top must be between 0 and 20, got 21", "top"},
      {"text: 'a' width { kv: 1 }", "width.kv must be 128, the only rank of this model, got 1",
       "width.kv"},
  };
  for (const Bad& bad : kScore) {
    CheckBad(ValidateScore(Parse<v1::ScoreRequest>(bad.request), Demo()).status(), bad);
  }
  CHECK(ValidateScore(Parse<v1::ScoreRequest>("model: 'x'"), Demo()).status().code() ==
        absl::StatusCode::kNotFound);
  const auto score = ValidateScore(Parse<v1::ScoreRequest>("text: 'a' top: 3"), Demo());
  REQUIRE(score.ok());
  CHECK(score->max_tokens == 0);
  CHECK(score->prompt_top_logprobs == 3u);
  CHECK(score->width_q == 192);
  CHECK(score->width_kv == 128);

  const Bad kTokenize[] = {
      {"", "prompt or messages is required", "prompt"},
      {"chat {}", "messages must not be empty", "messages"},
      {"chat { messages { role: 'x' content: '' } }",
       "messages[0].role must be one of system, developer, user, assistant, tool, got \"x\"",
       "messages[0].role"},
  };
  for (const Bad& bad : kTokenize) {
    CheckBad(ValidateTokenize(Parse<v1::TokenizeRequest>(bad.request), Demo()), bad);
  }
  CHECK(ValidateTokenize(Parse<v1::TokenizeRequest>("text: ''"), Demo()).ok());
  CHECK(ValidateTokenize(Parse<v1::TokenizeRequest>("text: '' model: 'x'"), Demo()).code() ==
        absl::StatusCode::kNotFound);

  CheckBad(ValidateDetokenize(Parse<v1::DetokenizeRequest>("token_ids: [5, 1000]"), Demo()),
           {"tokens", "tokens[1] must be a token id below 1000, got 1000", "tokens[1]"});
  CHECK(ValidateDetokenize(Parse<v1::DetokenizeRequest>(""), Demo()).ok());
  CHECK(ValidateDetokenize(Parse<v1::DetokenizeRequest>("model: 'x'"), Demo()).code() ==
        absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace latentd
