#include <utility>

#include "server/http/answer.h"

namespace latentd {
namespace {

void AppendEvent(const std::string& data, std::string* out) {
  out->append("data: ").append(data).append("\n\n");
}

const char* Object(const AnswerShape& shape) {
  return shape.chat ? "chat.completion.chunk" : "text_completion";
}

}  // namespace

EventWriter::EventWriter(AnswerShape* shape)
    : shape_(shape), choices_(shape->num_prompts * shape->n) {}

void EventWriter::Append(size_t prompt_idx, const v1::GenerateResponse& message, std::string* out) {
  shape_->Learn(message);
  if (message.has_width()) frame_.reset();
  if (shape_->chat) {
    AppendChat(prompt_idx, message, out);
  } else {
    AppendEchoLogprobs(prompt_idx, message, out);
    AppendCompletion(prompt_idx, message, out);
  }
}

const EventFrame& EventWriter::Frame() {
  if (!frame_)
    frame_.emplace(shape_->Envelope(Object(*shape_)), shape_->chat, shape_->include_usage);
  return *frame_;
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
    Json json = EventChoice(index, "text", "");
    json["logprobs"] = std::move(logprobs);
    Frame().Append(json, nullptr, out);
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
  const bool begins = !std::exchange(choice.begun, true);
  if (logprobs.is_null() && !shape_->return_token_ids && !finished) {
    return Frame().AppendText(index, message.text(), out);
  }
  Json json = EventChoice(index, "text", message.text());
  json["logprobs"] = std::move(logprobs);
  json["finish_reason"] = FinishReasonJson(message.finish_reason());
  if (finished) json["stop_reason"] = shape_->StopReason(message);
  if (shape_->return_token_ids) {
    const auto& prompt = shape_->prompt_ids[prompt_idx];
    if (begins) json["prompt_token_ids"] = prompt;
    json["token_ids"] = GeneratedIds(message, shape_->echo, prompt.size(), &choice.echoed);
  }
  Frame().Append(json, nullptr, out);
}

// A role first, then what is new, then the finish reason with an empty delta.
void EventWriter::AppendChat(size_t prompt_idx, const v1::GenerateResponse& message,
                             std::string* out) {
  const uint32_t index = shape_->Index(prompt_idx, message.choice());
  Choice& choice = choices_.at(index);
  if (!std::exchange(choice.begun, true)) {
    Frame().Append(EventChoice(index, "delta", {{"role", "assistant"}, {"content", ""}}),
                   shape_->return_token_ids ? &shape_->prompt_ids[prompt_idx] : nullptr, out);
  }
  const bool with_ids = shape_->return_token_ids && !message.token_ids().empty();
  if (!shape_->has_logprobs && !with_ids) {
    if (!message.text().empty()) Frame().AppendText(index, message.text(), out);
  } else if (!message.text().empty() || !message.logprobs().empty() || with_ids) {
    Json json = EventChoice(index, "delta", {{"content", message.text()}});
    if (shape_->has_logprobs) {
      json["logprobs"] = {{"content", Json::array()}, {"refusal", nullptr}};
      Json& content = json["logprobs"]["content"];
      for (const auto& token : message.logprobs()) content.push_back(ChatLogprob(token));
    }
    if (with_ids) json["token_ids"] = GeneratedIds(message, false, 0, &choice.echoed);
    Frame().Append(json, nullptr, out);
  }
  if (message.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return;
  Json last = EventChoice(index, "delta", Json::object());
  last["finish_reason"] = FinishReasonJson(message.finish_reason());
  last["stop_reason"] = shape_->StopReason(message);
  Frame().Append(last, nullptr, out);
}

void EventWriter::AppendEnd(std::string* out) const {
  if (shape_->include_usage) {
    Json chunk = shape_->Envelope(Object(*shape_));
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
