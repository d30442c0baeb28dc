// GenerateResponse messages → OpenAI's answers, whole or as server-sent events. Not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "latentd/v1/latentd.pb.h"
#include "server/http/body.h"
#include "server/http/event_frame.h"
#include "server/http/logprobs_json.h"
#include "server/json/json.h"

namespace latentd {

// What an answer says beside the model's output.
struct AnswerHead {
  std::string id;       // "cmpl-…" or "chatcmpl-…"
  int64_t created = 0;  // Unix seconds
  std::string model;
  std::string fingerprint;
  bool show_width = false;  // the model is elastic
};

// Facts of one request that both forms of an answer need.
class AnswerShape {
 public:
  // Keeps what it needs of the call.
  AnswerShape(const GenerateCall& call, AnswerHead head);

  // {"id", "object", "created", "model", "system_fingerprint"[, "width"]}
  Json Envelope(const char* object) const;
  // Index of a choice among the choices of all prompts, prompt-major.
  uint32_t Index(size_t prompt_idx, uint32_t choice) const;
  // vLLM's stop_reason: the stop string, the request's stop token, or null (end of sequence,
  // length).
  Json StopReason(const v1::GenerateResponse& last) const;
  // Adds what the stream's message tells about the whole answer: width, usage.
  void Learn(const v1::GenerateResponse& message);
  Json Usage() const;

  const bool chat, echo, return_token_ids, include_usage;
  const bool has_logprobs;
  const uint32_t top, prompt_top;  // alternatives a token: generated, prompt
  const bool has_prompt_logprobs;
  const uint32_t n;
  const size_t num_prompts;
  // return_token_ids only, by prompt: set before the first message of the prompt is written.
  std::vector<std::vector<uint32_t>> prompt_ids;

 private:
  const AnswerHead head_;
  const std::vector<uint32_t> stop_token_ids_;
  v1::Width width_;
  uint64_t prompt_tokens_ = 0, completion_tokens_ = 0;
};

// "stop", "length", … ; null while unset.
Json FinishReasonJson(v1::FinishReason reason);

// Drops from `ids`, the next ids of a choice, those of its echoed prompt. *echoed counts them over
// the choice's messages and ends at num_prompt.
Json GeneratedIds(const v1::GenerateResponse& message, bool echo, size_t num_prompt,
                  size_t* echoed);

// What is kept of an echoed prompt's text to look for its first token in; longer than any token
// that marks a beginning.
inline constexpr size_t kEchoStartBytes = 256;

// The answer in one piece, written as it comes: what a message brings is appended to the text of
// its choice at once. So no step is longer than its message, what is held is about the size of the
// answer, and the end only says in which order the texts go.
class WholeAnswer {
 public:
  explicit WholeAnswer(AnswerShape* shape);  // borrowed
  // Returns how many bytes of the answer's text this has written.
  size_t Add(size_t prompt_idx, const v1::GenerateResponse& message);
  // The body, in order. Views into this object, valid until it changes. To be called once.
  std::vector<std::string_view> Body();

 private:
  // The lists of the legacy shape, each without its brackets.
  struct LegacyText {
    LegacyLogprobs state;
    std::array<std::string, 4> lists;
    bool begun = false;
    size_t Append(const v1::TokenLogprob& token, uint32_t top, bool silent);
  };
  // Texts of JSON without the quotes and brackets around them.
  struct Choice {
    std::string text, token_ids, chat_logprobs;
    LegacyText legacy;  // of generated tokens
    size_t echoed = 0;
    std::string finish_reason = "null", stop_reason = "null";
  };
  struct Prompt {
    std::string echo_start;  // the echoed text's first bytes
    LegacyText legacy;       // belongs to every choice that echoes the prompt
    std::string logprobs;    // vLLM's prompt_logprobs
    std::string token_ids;
  };
  size_t AddPrompt(const v1::GenerateResponse& message, Prompt* prompt) const;
  size_t AddLogprobs(const v1::GenerateResponse& message, const Prompt& prompt,
                     Choice* choice) const;
  void PutPromptLogprobs(const Prompt& prompt);
  void PutLegacy(const Prompt& prompt, const Choice& choice);
  void PutChoice(size_t prompt_idx, uint32_t choice_idx);
  void Put(std::string text) { Refer(glue_.emplace_back(std::move(text))); }
  void Refer(std::string_view text) { body_.push_back(text); }

  AnswerShape* const shape_;
  std::vector<Choice> choices_;  // prompt-major
  std::vector<Prompt> prompts_;
  std::deque<std::string> glue_;  // what stands between the texts
  std::vector<std::string_view> body_;
};

// The answer as server-sent events.
class EventWriter {
 public:
  explicit EventWriter(AnswerShape* shape);  // borrowed
  // Appends the events of one message to *out; a message may have none.
  void Append(size_t prompt_idx, const v1::GenerateResponse& message, std::string* out);
  // The usage event where it is asked for, then [DONE].
  void AppendEnd(std::string* out) const;
  // Ends a stream that failed: no [DONE] follows.
  static void AppendError(const std::string& error_body, std::string* out);

 private:
  struct Choice {
    LegacyLogprobs legacy;
    size_t echoed = 0;
    bool begun = false;         // its first event is out
    std::string echo_start;     // the echoed text's first bytes
    bool prompt_begun = false;  // the prompt's first logprob is out
  };
  void AppendCompletion(size_t prompt_idx, const v1::GenerateResponse& message, std::string* out);
  void AppendEchoLogprobs(size_t prompt_idx, const v1::GenerateResponse& message, std::string* out);
  void AppendChat(size_t prompt_idx, const v1::GenerateResponse& message, std::string* out);
  const EventFrame& Frame();

  AnswerShape* const shape_;
  std::vector<Choice> choices_;
  std::optional<EventFrame> frame_;  // of the width last told; made when it is first needed
};

}  // namespace latentd
