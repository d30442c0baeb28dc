#include "server/prompt.h"

#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "kernels/core/check.h"
#include "server/errors.h"

namespace latentd {
namespace {

absl::StatusOr<std::vector<uint32_t>> Encode(std::string_view param, const std::string& text,
                                             bool add_special, const PromptTools& tools) {
  absl::StatusOr<std::vector<uint32_t>> ids = tools.tokenizer->Encode(text, add_special);
  if (ids.status().code() == absl::StatusCode::kInvalidArgument) {
    return BadField(param, std::string(ids.status().message()));
  }
  return ids;
}

absl::StatusOr<std::vector<uint32_t>> EncodeChat(const v1::Chat& chat, bool add_special,
                                                 const PromptTools& tools) {
  absl::StatusOr<std::string> text = RenderChat(chat, tools);
  if (!text.ok()) return text.status();
  return Encode("messages", *text, add_special, tools);
}

std::vector<uint32_t> Copy(const v1::TokenIds& ids) { return {ids.ids().begin(), ids.ids().end()}; }

}  // namespace

absl::StatusOr<std::string> RenderChat(const v1::Chat& chat, const PromptTools& tools) {
  LATENTD_CHECK(tools.chat_template != nullptr);
  ChatInput input;
  for (const v1::Message& message : chat.messages()) {
    ChatMessage& out = input.messages.emplace_back();
    out.role = message.role();
    if (message.has_content()) out.content = message.content();
    out.name = message.name();
    out.tool_call_id = message.tool_call_id();
    out.tool_calls_json.assign(message.tool_calls_json().begin(), message.tool_calls_json().end());
    out.extra_json = message.extra_json();
  }
  input.tools_json.assign(chat.tools_json().begin(), chat.tools_json().end());
  input.kwargs_json = chat.chat_template_kwargs_json();
  input.continue_final_message = chat.continue_final_message();
  input.add_generation_prompt = chat.has_add_generation_prompt() ? chat.add_generation_prompt()
                                                                 : !chat.continue_final_message();
  absl::StatusOr<std::string> text = tools.chat_template->Render(input);
  if (text.status().code() == absl::StatusCode::kInvalidArgument) {
    const std::string message(text.status().message());
    constexpr std::string_view kKwargs = "chat_template_kwargs";
    return BadField(message.rfind(kKwargs, 0) == 0 ? kKwargs : "messages", message);
  }
  return text;
}

absl::StatusOr<std::vector<uint32_t>> PromptTokens(const v1::GenerateRequest& request,
                                                   const PromptTools& tools) {
  if (request.has_token_ids()) return Copy(request.token_ids());
  const bool add_special =
      request.has_add_special_tokens() ? request.add_special_tokens() : !request.has_chat();
  if (request.has_chat()) return EncodeChat(request.chat(), add_special, tools);
  return Encode("prompt", request.text(), add_special, tools);
}

absl::StatusOr<std::vector<uint32_t>> PromptTokens(const v1::ScoreRequest& request,
                                                   const PromptTools& tools) {
  if (request.has_token_ids()) return Copy(request.token_ids());
  const bool add_special = !request.has_add_special_tokens() || request.add_special_tokens();
  return Encode("prompt", request.text(), add_special, tools);
}

absl::StatusOr<std::vector<uint32_t>> PromptTokens(const v1::TokenizeRequest& request,
                                                   const PromptTools& tools) {
  const bool add_special =
      request.has_add_special_tokens() ? request.add_special_tokens() : !request.has_chat();
  if (request.has_chat()) return EncodeChat(request.chat(), add_special, tools);
  return Encode("prompt", request.text(), add_special, tools);
}

}  // namespace latentd
