#include <algorithm>
#include <utility>

#include "server/http/answer.h"

namespace latentd {

AnswerShape::AnswerShape(const GenerateCall& call, AnswerHead head)
    : chat(call.chat),
      echo(call.requests[0].echo()),
      return_token_ids(call.return_token_ids),
      include_usage(call.include_usage),
      has_logprobs(call.requests[0].logprobs().has_top()),
      top(call.requests[0].logprobs().top()),
      prompt_top(call.requests[0].logprobs().prompt_top()),
      has_prompt_logprobs(call.requests[0].logprobs().has_prompt_top()),
      n(call.requests[0].sampling().has_n() ? call.requests[0].sampling().n() : 1),
      num_prompts(call.requests.size()),
      prompt_ids(call.requests.size()),
      head_(std::move(head)),
      stop_token_ids_(call.requests[0].stop().token_ids().begin(),
                      call.requests[0].stop().token_ids().end()) {}

Json AnswerShape::Envelope(const char* object) const {
  Json envelope = {{"id", head_.id},
                   {"object", object},
                   {"created", head_.created},
                   {"model", head_.model},
                   {"system_fingerprint", head_.fingerprint}};
  if (head_.show_width) envelope["width"] = {{"q", width_.q()}, {"kv", width_.kv()}};
  return envelope;
}

uint32_t AnswerShape::Index(size_t prompt_idx, uint32_t choice) const {
  return static_cast<uint32_t>(prompt_idx) * n + choice;
}

Json AnswerShape::StopReason(const v1::GenerateResponse& last) const {
  if (!last.matched_stop().empty()) return last.matched_stop();
  const bool asked_for =
      last.has_matched_token_id() && std::find(stop_token_ids_.begin(), stop_token_ids_.end(),
                                               last.matched_token_id()) != stop_token_ids_.end();
  return asked_for ? Json(last.matched_token_id()) : Json();
}

void AnswerShape::Learn(const v1::GenerateResponse& message) {
  if (message.has_width()) width_ = message.width();
  if (!message.has_usage()) return;
  prompt_tokens_ += message.usage().prompt_tokens();
  completion_tokens_ += message.usage().completion_tokens();
}

Json AnswerShape::Usage() const {
  return {{"prompt_tokens", prompt_tokens_},
          {"completion_tokens", completion_tokens_},
          {"total_tokens", prompt_tokens_ + completion_tokens_}};
}

Json FinishReasonJson(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return "stop";
    case v1::FINISH_REASON_LENGTH:
      return "length";
    case v1::FINISH_REASON_TOOL_CALLS:
      return "tool_calls";
    default:
      return nullptr;
  }
}

Json GeneratedIds(const v1::GenerateResponse& message, bool echo, size_t num_prompt,
                  size_t* echoed) {
  Json ids = Json::array();
  for (const uint32_t id : message.token_ids()) {
    if (echo && *echoed < num_prompt) {
      ++*echoed;
    } else {
      ids.push_back(id);
    }
  }
  return ids;
}

}  // namespace latentd
