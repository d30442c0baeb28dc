// A whole answer is written while it comes, so that nothing long is left for its end.
#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

#include "server/cat.h"
#include "server/http/answer.h"

namespace latentd {
namespace {

constexpr uint32_t kChoices = 4, kTokens = 100, kTop = 20;

GenerateCall Call(bool chat) {
  GenerateCall call;
  call.chat = chat;
  call.return_token_ids = true;
  v1::GenerateRequest& request = call.requests.emplace_back();
  request.set_echo(!chat);
  request.mutable_sampling()->set_n(kChoices);
  request.mutable_logprobs()->set_top(kTop);
  request.mutable_logprobs()->set_prompt_top(kTop);
  return call;
}

void FillToken(uint32_t id, v1::TokenLogprob* token) {
  for (uint32_t i = 0; i <= kTop; ++i) {
    v1::TokenLogprob* entry = i == 0 ? token : token->add_top();
    entry->set_token_id(id + i);
    entry->set_token(Cat("t\"", id + i));
    entry->set_token_bytes(entry->token());
    entry->set_logprob(-0.5f - static_cast<float>(i) / 3);
    entry->set_rank(i + 1);
  }
}

// `per_message` tokens a message.
std::vector<v1::GenerateResponse> Messages(bool chat, uint32_t per_message) {
  std::vector<v1::GenerateResponse> messages;
  const auto add = [&](uint32_t choice) -> v1::GenerateResponse& {
    messages.emplace_back().set_choice(choice);
    return messages.back();
  };
  for (uint32_t choice = 0; choice < (chat ? 0 : kChoices); ++choice) {
    add(choice).set_text("t\"1t\"2");
    for (const uint32_t id : {1, 2}) messages.back().add_token_ids(id);
  }
  for (const uint32_t id : {1, 2}) {
    if (id == 1 || per_message == 1) add(0);
    FillToken(id, messages.back().add_prompt_logprobs());
  }
  for (uint32_t token = 0; token < kTokens; token += per_message) {
    for (uint32_t choice = 0; choice < kChoices; ++choice) {
      v1::GenerateResponse& message = add(choice);
      for (uint32_t i = token; i < token + per_message; ++i) {
        message.add_token_ids(i);
        message.mutable_text()->append(Cat("é\n", i));
        FillToken(i, message.add_logprobs());
      }
      if (token + per_message < kTokens) continue;
      message.set_finish_reason(v1::FINISH_REASON_STOP);
      message.set_matched_stop("a\"b");
    }
  }
  return messages;
}

struct Written {
  std::string body;
  size_t while_coming = 0;  // bytes
  size_t largest = 0;       // of one message
};

Written Write(bool chat, uint32_t per_message) {
  AnswerShape shape(Call(chat), {"id", 1, "model", "print", false});
  shape.prompt_ids[0] = {1, 2};
  WholeAnswer whole(&shape);
  Written written;
  for (const v1::GenerateResponse& message : Messages(chat, per_message)) {
    const size_t bytes = whole.Add(0, message);
    written.while_coming += bytes;
    written.largest = std::max(written.largest, bytes);
  }
  for (const std::string_view piece : whole.Body()) written.body += piece;
  return written;
}

TEST_CASE("a whole answer's text is written token by token, and its end is small") {
  for (const bool chat : {true, false}) {
    const Written written = Write(chat, 1);
    // An entry with its bytes, number and keys takes less than 100 bytes.
    CHECK(written.largest < 100 * (kTop + 1));
    // What the end adds: names and brackets, some 20 strings a choice of less than 50 bytes. The
    // two tokens of the echoed prompt are counted once and stand in every choice.
    const size_t echoed = chat ? 0 : kChoices * 2 * 2 * 100 * (kTop + 1);
    CHECK(written.body.size() <= written.while_coming + kChoices * 20 * 50 + echoed);
    CHECK(written.body.size() > kChoices * kTokens * kTop * 10);
  }
}

TEST_CASE("a whole answer is valid JSON and does not depend on how it was cut into messages") {
  for (const bool chat : {true, false}) {
    const Written written = Write(chat, 1);
    CHECK(written.body == Write(chat, kTokens).body);
    const absl::StatusOr<Json> json = ParseJson(written.body, 16);
    REQUIRE(json.ok());
    CHECK(DumpJson(*json) == written.body);
    const Json& choice = json->at("choices").at(kChoices - 1);
    CHECK(choice["token_ids"].size() == kTokens);
    CHECK(choice["stop_reason"] == "a\"b");
    const Json& logprobs = choice["logprobs"];
    CHECK(logprobs[chat ? "content" : "text_offset"].size() == kTokens + (chat ? 0 : 2));
    const Json& prompt = chat ? *json : choice;
    CHECK(prompt["prompt_logprobs"].size() == 2);
    CHECK(prompt["prompt_token_ids"] == Json::array({1, 2}));
  }
}

}  // namespace
}  // namespace latentd
