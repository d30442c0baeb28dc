
#include "server/errors.h"
#include "server/http/field_table.h"
#include "server/http/fields.h"

namespace latentd {
namespace {

using Draft = GenerateDraft;

absl::Status ReadChatMessages(const Json& value, std::string_view name, Draft* draft) {
  return ReadMessages(value, name, draft->shared.mutable_chat());
}

absl::Status ReadLogprobs(const Json& value, std::string_view name, Draft* draft) {
  return ReadBool(value, name, &draft->logprobs.emplace());
}

absl::Status ReadTopLogprobs(const Json& value, std::string_view name, Draft* draft) {
  return ReadUint32(value, name, &draft->top_logprobs.emplace());
}

template <auto Set>
absl::Status ChatBool(const Json& value, std::string_view name, Draft* draft) {
  bool read = false;
  if (auto status = ReadBool(value, name, &read); !status.ok()) return status;
  (draft->shared.mutable_chat()->*Set)(read);
  return absl::OkStatus();
}

absl::Status ReadTemplateKwargs(const Json& value, std::string_view name, Draft* draft) {
  if (auto status = NeedObject(value, name); !status.ok()) return status;
  draft->template_kwargs = value;
  return absl::OkStatus();
}

absl::Status ReadReasoningEffort(const Json& value, std::string_view name, Draft* draft) {
  return ReadString(value, name, &draft->reasoning_effort.emplace());
}

constexpr GenerateField kChatFields[] = {
    {"messages", ReadChatMessages, /*takes_null=*/true},
    {"logprobs", ReadLogprobs},
    {"top_logprobs", ReadTopLogprobs},
    {"add_generation_prompt", ChatBool<&v1::Chat::set_add_generation_prompt>},
    {"continue_final_message", ChatBool<&v1::Chat::set_continue_final_message>},
    {"chat_template_kwargs", ReadTemplateKwargs},
    {"reasoning_effort", ReadReasoningEffort},
};

}  // namespace

std::string TemplateKwargs(const std::optional<Json>& kwargs,
                           const std::optional<std::string>& reasoning_effort) {
  if (!kwargs && !reasoning_effort) return "";
  Json merged = kwargs ? *kwargs : Json::object();
  if (reasoning_effort && !merged.contains("reasoning_effort")) {
    merged["reasoning_effort"] = *reasoning_effort;
  }
  return DumpJson(merged);
}

absl::StatusOr<GenerateCall> ParseChatBody(std::string_view body, const BodyOptions& options) {
  absl::StatusOr<Json> json = ParseObject(body, options);
  if (!json.ok()) return json.status();
  Draft draft;
  draft.options = &options;
  auto status = ReadFields<Draft, 2>(*json, "", {kChatFields, CommonFields()}, options, &draft);
  if (!status.ok()) return status;
  if (!json->contains("messages")) return BadField("messages", "messages is required");
  if (draft.top_logprobs && !draft.logprobs.value_or(false)) {
    return BadField("top_logprobs", "top_logprobs needs logprobs to be true");
  }
  if (draft.logprobs.value_or(false)) {
    draft.shared.mutable_logprobs()->set_top(draft.top_logprobs.value_or(0));
  }
  draft.shared.mutable_chat()->set_chat_template_kwargs_json(
      TemplateKwargs(draft.template_kwargs, draft.reasoning_effort));
  if (status = FinishCommon(&draft); !status.ok()) return status;
  draft.call.chat = true;
  draft.call.requests.push_back(std::move(draft.shared));
  return std::move(draft.call);
}

}  // namespace latentd
