#include <utility>

#include "server/http/answer.h"

namespace latentd {
namespace {

void AppendEvent(const std::string& data, std::string* out) {
  out->append("data: ").append(data).append("\n\n");
}

}  // namespace

EventWriter::EventWriter(AnswerShape* shape)
    : shape_(shape), choices_(shape->num_prompts * shape->n) {}

void EventWriter::Append(size_t prompt_idx, const v1::GenerateResponse& message, std::string* out) {
  shape_->Learn(message);
  if (shape_->chat) {
    AppendChat(prompt_idx, message, out);
  } else {
    AppendEchoLogprobs(prompt_idx, message, out);
    AppendCompletion(prompt_idx, message, out);
  }
}

void EventWriter::AppendChunk(Json choice, Json top_level, std::string* out) const {
  Json chunk = shape_->Envelope(shape_->chat ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = Json::array({std::move(choice)});
  if (shape_->include_usage) chunk["usage"] = nullptr;
  for (auto& [key, value] : top_level.items()) chunk[key] = std::move(value);
  AppendEvent(DumpJson(chunk), out);
}

// The prompt's logprobs come once, after its text, and belong to every choice.
void EventWriter::AppendEchoLogprobs(size_t prompt_idx, const v1::GenerateResponse& message,
                                     std::string* out) {
  if (!shape_->echo || !shape_->has_logprobs || message.prompt_logprobs().empty()) return;
  for (uint32_t i = 0; i < shape_->n; ++i) {
    const uint32_t index = shape_->Index(prompt_idx, i);
    Choice& choice = choices_.at(index);
    Json logprobs;
    for (const v1::TokenLogprob& token : message.prompt_logprobs()) {
      const bool silent = !choice.prompt_begun && IsSilentStart(token, choice.echo_start);
      choice.prompt_begun = true;
      choice.legacy.Append(token, shape_->top, silent, &logprobs);
    }
    AppendChunk({{"index", index},
                 {"text", ""},
                 {"logprobs", std::move(logprobs)},
                 {"finish_reason", nullptr}},
                Json::object(), out);
  }
}

void EventWriter::AppendCompletion(size_t prompt_idx, const v1::GenerateResponse& message,
                                   std::string* out) {
  const uint32_t index = shape_->Index(prompt_idx, message.choice());
  Choice& choice = choices_.at(index);
  Json logprobs;
  if (shape_->has_logprobs) {
    for (const v1::TokenLogprob& token : message.logprobs()) {
      choice.legacy.Append(token, shape_->top, /*silent=*/false, &logprobs);
    }
  }
  if (shape_->echo && choice.echo_start.size() < kEchoStartBytes) {
    choice.echo_start += message.text().substr(0, kEchoStartBytes);
  }
  const bool finished = message.finish_reason() != v1::FINISH_REASON_UNSPECIFIED;
  const bool with_ids = shape_->return_token_ids && !message.token_ids().empty();
  if (message.text().empty() && logprobs.is_null() && !with_ids && !finished) return;
  Json json = {{"index", index},
               {"text", message.text()},
               {"logprobs", std::move(logprobs)},
               {"finish_reason", FinishReasonJson(message.finish_reason())}};
  if (finished) json["stop_reason"] = shape_->StopReason(message);
  if (shape_->return_token_ids) {
    const auto& prompt = shape_->prompt_ids[prompt_idx];
    if (!choice.begun) json["prompt_token_ids"] = prompt;
    json["token_ids"] = GeneratedIds(message, shape_->echo, prompt.size(), &choice.echoed);
  }
  choice.begun = true;
  AppendChunk(std::move(json), Json::object(), out);
}

// A role first, then what is new, then the finish reason with an empty delta.
void EventWriter::AppendChat(size_t prompt_idx, const v1::GenerateResponse& message,
                             std::string* out) {
  const uint32_t index = shape_->Index(prompt_idx, message.choice());
  Choice& choice = choices_.at(index);
  const auto choice_json = [index](Json delta) {
    return Json{{"index", index},
                {"delta", std::move(delta)},
                {"logprobs", nullptr},
                {"finish_reason", nullptr}};
  };
  if (!std::exchange(choice.begun, true)) {
    Json top_level = Json::object();
    if (shape_->return_token_ids) top_level["prompt_token_ids"] = shape_->prompt_ids[prompt_idx];
    AppendChunk(choice_json({{"role", "assistant"}, {"content", ""}}), std::move(top_level), out);
  }
  Json content = Json::array();
  if (shape_->has_logprobs) {
    for (const v1::TokenLogprob& token : message.logprobs()) content.push_back(ChatLogprob(token));
  }
  const bool with_ids = shape_->return_token_ids && !message.token_ids().empty();
  if (!message.text().empty() || !content.empty() || with_ids) {
    Json json = choice_json({{"content", message.text()}});
    if (shape_->has_logprobs) {
      json["logprobs"] = {{"content", std::move(content)}, {"refusal", nullptr}};
    }
    if (with_ids) json["token_ids"] = GeneratedIds(message, false, 0, &choice.echoed);
    AppendChunk(std::move(json), Json::object(), out);
  }
  if (message.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return;
  Json last = choice_json(Json::object());
  last["finish_reason"] = FinishReasonJson(message.finish_reason());
  last["stop_reason"] = shape_->StopReason(message);
  AppendChunk(std::move(last), Json::object(), out);
}

void EventWriter::AppendEnd(std::string* out) const {
  if (shape_->include_usage) {
    Json chunk = shape_->Envelope(shape_->chat ? "chat.completion.chunk" : "text_completion");
    chunk["choices"] = Json::array();
    chunk["usage"] = shape_->Usage();
    AppendEvent(DumpJson(chunk), out);
  }
  AppendEvent("[DONE]", out);
}

void EventWriter::AppendError(const std::string& error_body, std::string* out) {
  AppendEvent(error_body, out);
}

}  // namespace latentd
