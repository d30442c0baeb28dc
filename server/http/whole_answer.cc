#include "server/cat.h"
#include "server/http/answer.h"

namespace latentd {
namespace {

constexpr const char* kLegacyKeys[] = {"text_offset", "token_logprobs", "tokens", "top_logprobs"};

// Appends the elements of a list to *out, which holds those before them. Returns the bytes added.
size_t AppendElements(const Json& list, std::string* out) {
  if (list.empty()) return 0;
  const size_t before = out->size();
  if (!out->empty()) out->push_back(',');
  const std::string text = DumpJson(list);
  out->append(text, 1, text.size() - 2);
  return out->size() - before;
}

size_t AppendString(const std::string& value, std::string* out) {
  const size_t before = out->size();
  AppendJsonText(value, out);
  return out->size() - before;
}

std::string Ids(const std::vector<uint32_t>& ids) {
  std::string text;
  for (const uint32_t id : ids) {
    if (!text.empty()) text.push_back(',');
    text += std::to_string(id);
  }
  return text;
}

}  // namespace

WholeAnswer::WholeAnswer(AnswerShape* shape)
    : shape_(shape), choices_(shape->num_prompts * shape->n), prompts_(shape->num_prompts) {}

size_t WholeAnswer::LegacyText::Append(const v1::TokenLogprob& token, uint32_t top, bool silent) {
  begun = true;
  Json json;
  state.Append(token, top, silent, &json);
  size_t written = 0;
  for (size_t i = 0; i < lists.size(); ++i) {
    written += AppendElements(json[kLegacyKeys[i]], &lists[i]);
  }
  return written;
}

size_t WholeAnswer::Add(size_t prompt_idx, const v1::GenerateResponse& message) {
  shape_->Learn(message);
  Prompt& prompt = prompts_.at(prompt_idx);
  Choice& choice = choices_.at(shape_->Index(prompt_idx, message.choice()));
  size_t written = AddPrompt(message, &prompt);
  written += AppendString(message.text(), &choice.text);
  written += AddLogprobs(message, prompt, &choice);
  if (shape_->return_token_ids) {
    const Json ids =
        GeneratedIds(message, shape_->echo, shape_->prompt_ids[prompt_idx].size(), &choice.echoed);
    written += AppendElements(ids, &choice.token_ids);
  }
  if (message.finish_reason() == v1::FINISH_REASON_UNSPECIFIED) return written;
  choice.finish_reason = DumpJson(FinishReasonJson(message.finish_reason()));
  choice.stop_reason = DumpJson(shape_->StopReason(message));
  return written;
}

size_t WholeAnswer::AddPrompt(const v1::GenerateResponse& message, Prompt* prompt) const {
  if (shape_->echo && message.choice() == 0 && prompt->echo_start.size() < kEchoStartBytes) {
    prompt->echo_start += message.text().substr(0, kEchoStartBytes);
  }
  size_t written = 0;
  for (const v1::TokenLogprob& token : message.prompt_logprobs()) {
    if (!shape_->chat && shape_->has_logprobs && shape_->echo) {
      const bool silent = !prompt->legacy.begun && IsSilentStart(token, prompt->echo_start);
      written += prompt->legacy.Append(token, shape_->top, silent);
    }
  }
  if (shape_->has_prompt_logprobs) {
    written += AppendElements(PromptLogprobs(message.prompt_logprobs(), shape_->prompt_top),
                              &prompt->logprobs);
  }
  return written;
}

// The offsets of the first generated token go on from those of the echoed prompt.
size_t WholeAnswer::AddLogprobs(const v1::GenerateResponse& message, const Prompt& prompt,
                                Choice* choice) const {
  if (!shape_->has_logprobs) return 0;
  size_t written = 0;
  for (const v1::TokenLogprob& token : message.logprobs()) {
    if (shape_->chat) {
      written += AppendElements(Json::array({ChatLogprob(token)}), &choice->chat_logprobs);
    } else {
      if (!choice->legacy.begun) choice->legacy.state = prompt.legacy.state;
      written += choice->legacy.Append(token, shape_->top, /*silent=*/false);
    }
  }
  return written;
}

void WholeAnswer::PutLegacy(const Prompt& prompt, const Choice& choice) {
  if (!prompt.legacy.begun && !choice.legacy.begun) return Put("null");
  for (size_t i = 0; i < choice.legacy.lists.size(); ++i) {
    Put(Cat(i == 0 ? "{\"" : "],\"", kLegacyKeys[i], "\":["));
    Refer(prompt.legacy.lists[i]);
    if (prompt.legacy.begun && choice.legacy.begun) Put(",");
    Refer(choice.legacy.lists[i]);
  }
  Put("]}");
}

void WholeAnswer::PutPromptLogprobs(const Prompt& prompt) {
  if (!shape_->has_prompt_logprobs) return;
  Put(",\"prompt_logprobs\":[");
  Refer(prompt.logprobs);
  Put("]");
}

void WholeAnswer::PutChoice(size_t prompt_idx, uint32_t choice_idx) {
  const uint32_t index = shape_->Index(prompt_idx, choice_idx);
  const Choice& choice = choices_.at(index);
  const Prompt& prompt = prompts_.at(prompt_idx);
  Put(Cat(index == 0 ? "" : ",", "{\"index\":", index,
          shape_->chat ? R"(,"message":{"role":"assistant","content":")" : R"(,"text":")"));
  Refer(choice.text);
  Put(shape_->chat ? R"(","refusal":null},"logprobs":)" : R"(","logprobs":)");
  if (!shape_->has_logprobs) {
    Put("null");
  } else if (shape_->chat) {
    Put(R"({"content":[)");
    Refer(choice.chat_logprobs);
    Put(R"(],"refusal":null})");
  } else {
    PutLegacy(prompt, choice);
  }
  Put(Cat(",\"finish_reason\":", choice.finish_reason, ",\"stop_reason\":", choice.stop_reason));
  if (shape_->return_token_ids) {
    Put(",\"token_ids\":[");
    Refer(choice.token_ids);
    Put("]");
  }
  if (!shape_->chat) {
    if (shape_->return_token_ids) {
      Put(",\"prompt_token_ids\":[");
      Refer(prompt.token_ids);
      Put("]");
    }
    PutPromptLogprobs(prompt);
  }
  Put("}");
}

std::vector<std::string_view> WholeAnswer::Body() {
  std::string head =
      DumpJson(shape_->Envelope(shape_->chat ? "chat.completion" : "text_completion"));
  head.pop_back();
  Put(head + ",\"choices\":[");
  for (size_t prompt = 0; prompt < shape_->num_prompts; ++prompt) {
    if (shape_->return_token_ids) prompts_[prompt].token_ids = Ids(shape_->prompt_ids[prompt]);
    for (uint32_t i = 0; i < shape_->n; ++i) PutChoice(prompt, i);
  }
  Put("],\"usage\":" + DumpJson(shape_->Usage()));
  if (shape_->chat) {
    if (shape_->return_token_ids) Put(Cat(",\"prompt_token_ids\":[", prompts_[0].token_ids, "]"));
    PutPromptLogprobs(prompts_[0]);
  }
  Put("}");
  return std::move(body_);
}

}  // namespace latentd
