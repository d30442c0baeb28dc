
#include "server/errors.h"
#include "server/http/field_table.h"
#include "server/http/fields.h"

namespace latentd {
namespace {

struct TokenizeDraft {
  TokenizeCall call;
  std::optional<std::string> prompt;
  std::optional<v1::Chat> messages;
  v1::Chat settings;  // chat settings; meaningless without messages
  std::optional<Json> template_kwargs;
};
using TokenizeField = Field<TokenizeDraft>;
using DetokenizeField = Field<v1::DetokenizeRequest>;

absl::Status ReadModel(const Json& value, std::string_view name, TokenizeDraft* draft) {
  return ReadString(value, name, draft->call.request.mutable_model());
}

absl::Status ReadPrompt(const Json& value, std::string_view name, TokenizeDraft* draft) {
  return ReadString(value, name, &draft->prompt.emplace());
}

absl::Status ReadChat(const Json& value, std::string_view name, TokenizeDraft* draft) {
  return ReadMessages(value, name, &draft->messages.emplace());
}

absl::Status ReadAddSpecial(const Json& value, std::string_view name, TokenizeDraft* draft) {
  bool add = false;
  if (auto status = ReadBool(value, name, &add); !status.ok()) return status;
  draft->call.request.set_add_special_tokens(add);
  return absl::OkStatus();
}

absl::Status ReadStrings(const Json& value, std::string_view name, TokenizeDraft* draft) {
  return ReadBool(value, name, &draft->call.return_token_strings);
}

template <auto Set>
absl::Status ChatBool(const Json& value, std::string_view name, TokenizeDraft* draft) {
  bool read = false;
  if (auto status = ReadBool(value, name, &read); !status.ok()) return status;
  (draft->settings.*Set)(read);
  return absl::OkStatus();
}

absl::Status ReadKwargs(const Json& value, std::string_view name, TokenizeDraft* draft) {
  if (auto status = NeedObject(value, name); !status.ok()) return status;
  draft->template_kwargs = value;
  return absl::OkStatus();
}

absl::Status ReadTools(const Json& value, std::string_view name, TokenizeDraft*) {
  if (auto status = NeedArray(value, name); !status.ok()) return status;
  return value.empty() ? absl::OkStatus() : NotServedYet(name);
}

constexpr TokenizeField kTokenizeFields[] = {
    {"model", ReadModel},
    {"prompt", ReadPrompt, /*takes_null=*/true},
    {"messages", ReadChat, /*takes_null=*/true},
    {"add_special_tokens", ReadAddSpecial},
    {"return_token_strs", ReadStrings},
    {"add_generation_prompt", ChatBool<&v1::Chat::set_add_generation_prompt>},
    {"continue_final_message", ChatBool<&v1::Chat::set_continue_final_message>},
    {"chat_template_kwargs", ReadKwargs},
    {"tools", ReadTools},
};

absl::Status ReadDetokenizeModel(const Json& value, std::string_view name,
                                 v1::DetokenizeRequest* request) {
  return ReadString(value, name, request->mutable_model());
}

absl::Status ReadTokens(const Json& value, std::string_view name, v1::DetokenizeRequest* request) {
  std::vector<uint32_t> ids;
  if (auto status = ReadUint32List(value, name, &ids); !status.ok()) return status;
  request->mutable_token_ids()->Add(ids.begin(), ids.end());
  return absl::OkStatus();
}

constexpr DetokenizeField kDetokenizeFields[] = {
    {"model", ReadDetokenizeModel},
    {"tokens", ReadTokens, /*takes_null=*/true},
};

}  // namespace

absl::StatusOr<TokenizeCall> ParseTokenizeBody(std::string_view body, const BodyOptions& options) {
  absl::StatusOr<Json> json = ParseObject(body, options);
  if (!json.ok()) return json.status();
  TokenizeDraft draft;
  auto status = ReadFields<TokenizeDraft, 1>(*json, "", {kTokenizeFields}, options, &draft);
  if (!status.ok()) return status;
  if (draft.prompt && draft.messages) {
    return BadField("messages", "messages and prompt exclude each other");
  }
  if (!draft.prompt && !draft.messages) {
    return BadField("prompt", "prompt or messages is required");
  }
  v1::TokenizeRequest& request = draft.call.request;
  if (draft.prompt) {
    request.set_text(*std::move(draft.prompt));
    return std::move(draft.call);
  }
  *request.mutable_chat() = *std::move(draft.messages);
  request.mutable_chat()->MergeFrom(draft.settings);
  request.mutable_chat()->set_chat_template_kwargs_json(
      TemplateKwargs(draft.template_kwargs, std::nullopt));
  return std::move(draft.call);
}

absl::StatusOr<v1::DetokenizeRequest> ParseDetokenizeBody(std::string_view body,
                                                          const BodyOptions& options) {
  absl::StatusOr<Json> json = ParseObject(body, options);
  if (!json.ok()) return json.status();
  v1::DetokenizeRequest request;
  auto status =
      ReadFields<v1::DetokenizeRequest, 1>(*json, "", {kDetokenizeFields}, options, &request);
  if (!status.ok()) return status;
  if (!json->contains("tokens")) return BadField("tokens", "tokens is required");
  return request;
}

}  // namespace latentd
