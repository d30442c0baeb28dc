// Events are put together from texts that were written once. The oracle builds every event as one
// JSON object and prints that.
#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "server/cat.h"
#include "server/http/answer.h"

namespace latentd {
namespace {

const AnswerHead kAnswerHead = {"cmpl-\"text\":\"\"", 1700000000, "org/\"index\":0\\é", "latentd-1",
                                /*show_width=*/true};

struct Stream {
  bool chat = false, usage = false, ids = false;
  bool logprobs = false;  // with two alternatives
  uint32_t n = 1;
  size_t num_prompts = 1;

  GenerateCall Call() const {
    GenerateCall call;
    call.chat = chat;
    call.include_usage = usage;
    call.return_token_ids = ids;
    call.requests.resize(num_prompts);
    call.requests[0].mutable_sampling()->set_n(n);
    if (logprobs) call.requests[0].mutable_logprobs()->set_top(2);
    return call;
  }
  static std::vector<uint32_t> PromptIds(size_t prompt) {
    return {static_cast<uint32_t>(prompt), 4'000'000'000};
  }
};

// What clients were sent before anything was written beforehand.
class Oracle {
 public:
  explicit Oracle(const Stream& stream)
      : stream_(stream), legacy_(stream.n * stream.num_prompts), begun_(legacy_.size()) {}

  std::string Events(size_t prompt, const v1::GenerateResponse& message) {
    if (message.has_width()) width_ = {{"q", message.width().q()}, {"kv", message.width().kv()}};
    completion_tokens_ += message.usage().completion_tokens();
    const size_t index = prompt * stream_.n + message.choice();
    return stream_.chat ? Chat(prompt, index, message) : Completion(prompt, index, message);
  }

  std::string End() const {
    const std::string done = "data: [DONE]\n\n";
    if (!stream_.usage) return done;
    Json chunk = Chunk(Json::array());
    chunk["usage"] = {{"prompt_tokens", 0},
                      {"completion_tokens", completion_tokens_},
                      {"total_tokens", completion_tokens_}};
    return Event(chunk) + done;
  }

 private:
  static std::string Event(const Json& chunk) { return Cat("data: ", DumpJson(chunk), "\n\n"); }

  static std::vector<uint32_t> Ids(const v1::GenerateResponse& message) {
    return {message.token_ids().begin(), message.token_ids().end()};
  }

  Json Chunk(Json choices) const {
    return {{"id", kAnswerHead.id},
            {"object", stream_.chat ? "chat.completion.chunk" : "text_completion"},
            {"created", kAnswerHead.created},
            {"model", kAnswerHead.model},
            {"system_fingerprint", kAnswerHead.fingerprint},
            {"width", width_},
            {"choices", std::move(choices)}};
  }
  Json OneChoice(Json choice) const {
    Json chunk = Chunk(Json::array({std::move(choice)}));
    if (stream_.usage) chunk["usage"] = nullptr;
    return chunk;
  }

  std::string Completion(size_t prompt, size_t index, const v1::GenerateResponse& message) {
    Json logprobs;
    for (const auto& token : message.logprobs()) {
      if (stream_.logprobs) legacy_[index].Append(token, 2, false, &logprobs);
    }
    const bool finished = message.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
    const bool with_ids = stream_.ids && message.token_ids_size() > 0;
    if (message.text().empty() && logprobs.is_null() && !with_ids && !finished) return "";
    Json choice = {{"index", index},
                   {"text", message.text()},
                   {"logprobs", logprobs},
                   {"finish_reason", nullptr}};
    if (finished) {
      choice["finish_reason"] = "stop";
      choice["stop_reason"] = message.matched_stop();
    }
    if (stream_.ids) {
      if (!begun_[index]) choice["prompt_token_ids"] = Stream::PromptIds(prompt);
      choice["token_ids"] = Ids(message);
    }
    begun_[index] = true;
    return Event(OneChoice(choice));
  }

  std::string Chat(size_t prompt, size_t index, const v1::GenerateResponse& message) {
    const auto choice = [index](Json delta) {
      return Json{
          {"index", index}, {"delta", delta}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
    };
    std::string events;
    if (!begun_[index]) {
      Json chunk = OneChoice(choice({{"role", "assistant"}, {"content", ""}}));
      if (stream_.ids) chunk["prompt_token_ids"] = Stream::PromptIds(prompt);
      events += Event(chunk);
    }
    begun_[index] = true;
    Json content = Json::array();
    for (const auto& token : message.logprobs()) {
      if (stream_.logprobs) content.push_back(ChatLogprob(token));
    }
    const bool with_ids = stream_.ids && message.token_ids_size() > 0;
    if (!message.text().empty() || !content.empty() || with_ids) {
      Json token = choice({{"content", message.text()}});
      if (stream_.logprobs) token["logprobs"] = {{"content", content}, {"refusal", nullptr}};
      if (with_ids) token["token_ids"] = Ids(message);
      events += Event(OneChoice(token));
    }
    if (message.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return events;
    Json last = choice(Json::object());
    last["finish_reason"] = "stop";
    last["stop_reason"] = message.matched_stop();
    return events + Event(OneChoice(last));
  }

  const Stream stream_;
  std::vector<LegacyLogprobs> legacy_;
  std::vector<bool> begun_;
  Json width_ = {{"q", 0}, {"kv", 0}};
  uint64_t completion_tokens_ = 0;
};

// Everything that JSON escapes, whole and broken characters, and what a template might be cut at.
std::string NastyText(std::mt19937& random) {
  static const std::vector<std::string> kPieces = {"",
                                                   "a",
                                                   " the",
                                                   "\"",
                                                   "\\",
                                                   "/",
                                                   "\n",
                                                   "\r\n",
                                                   "\t",
                                                   "\b\f",
                                                   std::string(1, '\0'),
                                                   "\x01",
                                                   "\x1f",
                                                   "\x7f",
                                                   "é",
                                                   "中文",
                                                   "😀",
                                                   "\u2028",
                                                   "\xEF\xBF\xBD",
                                                   "\xC3",
                                                   "\xE2\x82",
                                                   "\xF0\x9F",
                                                   "\x80",
                                                   "\xFF\xFE",
                                                   "\xED\xA0\x80",
                                                   "\xC0\xAF",
                                                   "\xF4\x90\x80\x80",
                                                   "\\u0000",
                                                   "\"text\":\"\"",
                                                   "data: ",
                                                   "\n\n",
                                                   "{}",
                                                   "\"index\":0"};
  std::string text;
  for (auto left = random() % 5; left > 0; --left) text += kPieces[random() % kPieces.size()];
  if (random() % 4 == 0) {
    for (auto left = random() % 40; left > 0; --left) text += static_cast<char>(random());
  }
  return text;
}

void FillToken(std::mt19937& random, v1::TokenLogprob* token) {
  for (uint32_t i = 0; i < 3; ++i) {
    v1::TokenLogprob* entry = i == 0 ? token : token->add_top();
    entry->set_token_id(static_cast<uint32_t>(random()));
    entry->set_token_bytes(NastyText(random));
    entry->set_token(Cat(i, entry->token_bytes()));
    entry->set_logprob(i == 1 ? -INFINITY : -static_cast<float>(random()) / 7);
    entry->set_rank(i + 1);
  }
}

v1::GenerateResponse RandomMessage(std::mt19937& random, uint32_t n) {
  v1::GenerateResponse message;
  message.set_choice(static_cast<uint32_t>(random() % n));
  message.set_text(NastyText(random));
  for (auto left = random() % 3; left > 0; --left) {
    message.add_token_ids(static_cast<uint32_t>(random()));
    if (random() % 2 == 0) FillToken(random, message.add_logprobs());
  }
  if (random() % 5 == 0) {
    message.set_finish_reason(v1::FINISH_REASON_STOP);
    message.set_matched_stop(Cat("x", NastyText(random)));
    message.mutable_usage()->set_completion_tokens(static_cast<uint32_t>(random() % 9));
  }
  if (random() % 5 == 0) message.mutable_width()->set_kv(static_cast<uint32_t>(random() % 512));
  return message;
}

TEST_CASE("an event has the bytes of the JSON object that it says") {
  std::mt19937 random(1);
  for (int round = 0; round < 400; ++round) {
    const auto coin = [&random] { return random() % 2 == 0; };
    Stream stream = {.chat = coin(), .usage = coin(), .ids = coin(), .logprobs = coin()};
    stream.n = 1 + static_cast<uint32_t>(random() % 12);
    stream.num_prompts = stream.chat ? 1 : 1 + random() % 3;
    CAPTURE(round, stream.chat, stream.usage, stream.ids, stream.logprobs, stream.n);
    AnswerShape shape(stream.Call(), kAnswerHead);
    for (size_t i = 0; i < stream.num_prompts && stream.ids; ++i) {
      shape.prompt_ids[i] = Stream::PromptIds(i);
    }
    EventWriter writer(&shape);
    Oracle oracle(stream);
    for (int i = 0; i < 20; ++i) {
      const size_t prompt = random() % stream.num_prompts;
      const v1::GenerateResponse message = RandomMessage(random, stream.n);
      std::string events = "before";
      writer.Append(prompt, message, &events);
      REQUIRE(events == "before" + oracle.Events(prompt, message));
    }
    std::string end;
    writer.AppendEnd(&end);
    REQUIRE(end == oracle.End());
  }
}

TEST_CASE("text in JSON has the bytes that DumpJson gives it") {
  std::mt19937 random(2);
  std::vector<std::string> texts(256);
  for (size_t byte = 0; byte < 256; ++byte)
    texts[byte] = std::string{'a', static_cast<char>(byte), 'b'};
  for (int i = 0; i < 20'000; ++i) texts.push_back(NastyText(random));
  for (const std::string& text : texts) {
    std::string written = "\"";
    AppendJsonText(text, &written);
    REQUIRE(written + "\"" == DumpJson(Json(text)));
  }
}

}  // namespace
}  // namespace latentd
