#include "server/validate.h"

#include <google/protobuf/text_format.h>

#include <catch2/catch.hpp>
#include <string>

#include "server/cat.h"
#include "server/errors.h"

namespace latentd {
namespace {

ServedModel Demo() {
  ServedModel model;
  model.id = "demo";
  model.vocab_size = 1000;
  model.max_context = 64;
  model.has_chat_template = true;
  model.q_rank = 192;
  model.kv_rank = 128;
  model.defaults.eos_token_ids = {2, 7};
  return model;
}

template <typename Message>
Message Parse(const std::string& text) {
  Message message;
  REQUIRE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

struct Bad {
  const char* request;  // text format
  const char* message;
  const char* param;
};

void CheckBad(const absl::Status& status, const Bad& bad) {
  CAPTURE(bad.request);
  CHECK(status.message() == bad.message);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(DetailOf(status).param() == bad.param);
  CHECK(DetailOf(status).http_status() == 400);
}

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

TEST_CASE("An inelastic model without a query rank takes its own width only") {
  ServedModel model = Demo();
  model.q_rank = 0;
  CHECK(ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a' width { kv: 128 }"), model).ok());
  CheckBad(
      ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a' width { q: 192 }"), model).status(),
      {"width", "width.q must be 0, the only rank of this model, got 192", "width.q"});
}

TEST_CASE("An elastic model takes the ranks it lists, in any pairing") {
  ServedModel model = Demo();
  model.elastic = ElasticConfig{{64, 128, 192}, {32, 128}, false, true};
  struct Good {
    const char* width;
    int64_t q, kv;
  };
  const Good kGood[] = {{"", 192, 128},
                        {"width {}", 192, 128},
                        {"width { q: 64 }", 64, 128},
                        {"width { kv: 32 }", 192, 32},
                        {"width { q: 128 kv: 32 }", 128, 32},
                        {"width { q: 192 kv: 128 }", 192, 128}};
  for (const Good& good : kGood) {
    CAPTURE(good.width);
    const std::string text = Cat("text: 'a' ", good.width);
    const auto engine = ValidateGenerate(Parse<v1::GenerateRequest>(text), model);
    REQUIRE(engine.ok());
    CHECK(engine->width_q == good.q);
    CHECK(engine->width_kv == good.kv);
    const auto score = ValidateScore(Parse<v1::ScoreRequest>(text), model);
    REQUIRE(score.ok());
    CHECK(score->width_q == good.q);
    CHECK(score->width_kv == good.kv);
  }
  const Bad kBad[] = {
      {"text: 'a' width { q: 63 }", "width.q must be one of 64, 128, 192, got 63", "width.q"},
      {"text: 'a' width { q: 0 }", "width.q must be one of 64, 128, 192, got 0", "width.q"},
      {"text: 'a' width { q: 64 kv: 64 }", "width.kv must be one of 32, 128, got 64", "width.kv"},
      {"text: 'a' width { kv: 4294967295 }", "width.kv must be one of 32, 128, got 4294967295",
       "width.kv"}};
  for (const Bad& bad : kBad) {
    CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>(bad.request), model).status(), bad);
    CheckBad(ValidateScore(Parse<v1::ScoreRequest>(bad.request), model).status(), bad);
  }
}

TEST_CASE("The policy decides only where a request names no width at all") {
  ServedModel model = Demo();
  model.elastic = ElasticConfig{{64, 192}, {32, 128}, false, true};
  for (const bool policy : {false, true}) {
    model.width_by_policy = policy;
    for (const auto& [width, named] : {std::pair("", false),
                                       {"width {}", false},
                                       {"width { q: 192 }", true},
                                       {"width { kv: 32 }", true}}) {
      CAPTURE(policy, width);
      const std::string text = Cat("text: 'a' ", width);
      CHECK(ValidateGenerate(Parse<v1::GenerateRequest>(text), model)->width_by_policy ==
            (policy && !named));
      CHECK(ValidateScore(Parse<v1::ScoreRequest>(text), model)->width_by_policy ==
            (policy && !named));
    }
  }
}

TEST_CASE("A continuous model takes every rank from 1 to the full one") {
  ServedModel model = Demo();
  model.elastic = ElasticConfig{{64, 192}, {128}, true, true};
  for (const char* width : {"q: 1 kv: 1", "q: 191 kv: 127", "q: 65", "kv: 37"}) {
    CAPTURE(width);
    const std::string text = Cat("text: 'a' width { ", width, " }");
    CHECK(ValidateGenerate(Parse<v1::GenerateRequest>(text), model).ok());
  }
  const Bad kBad[] = {
      {"text: 'a' width { q: 0 }", "width.q must be between 1 and 192, got 0", "width.q"},
      {"text: 'a' width { q: 193 }", "width.q must be between 1 and 192, got 193", "width.q"},
      {"text: 'a' width { kv: 129 }", "width.kv must be between 1 and 128, got 129", "width.kv"}};
  for (const Bad& bad : kBad) {
    CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>(bad.request), model).status(), bad);
  }
  model.elastic->continuous = true;
  model.elastic->q_lora_ranks.clear();  // no query rank
  model.q_rank = 0;
  CheckBad(ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a' width { q: 1 }"), model).status(),
           {"width", "width.q must be 0, the only rank of this model, got 1", "width.q"});
}

TEST_CASE("A long list of ranks is cut in the message") {
  ServedModel model = Demo();
  model.q_rank = 100'000;
  model.elastic = ElasticConfig{{}, {128}, false, true};
  for (int64_t rank = 99'801; rank <= 100'000; ++rank) model.elastic->q_lora_ranks.push_back(rank);
  const absl::Status status =
      ValidateGenerate(Parse<v1::GenerateRequest>("text: 'a' width { q: 1 }"), model).status();
  const std::string message(status.message());
  CHECK(message.size() <= 800);
  CHECK_THAT(message, Catch::StartsWith("width.q must be one of 99801, 99802, ") &&
                          Catch::EndsWith("99864 … 100000, got 1"));
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
