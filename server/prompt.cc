#include "server/prompt.h"

#include <cstdint>

#include "engine/text/chat_template.h"
#include "kernels/core/check.h"
#include "server/errors.h"

namespace latentd {
namespace {

using Encoded = Tokenizer::Encoded;

// Nobody limits what /tokenize is asked for but the size of a body.
constexpr size_t kNoLimit = SIZE_MAX;

absl::StatusOr<Encoded> Encode(std::string_view param, const std::string& text, bool add_special,
                               const PromptTools& tools, size_t max_tokens) {
  absl::StatusOr<Encoded> encoded = tools.tokenizer->EncodeAtMost(text, add_special, max_tokens);
  if (encoded.status().code() == absl::StatusCode::kInvalidArgument) {
    return BadField(param, std::string(encoded.status().message()));
  }
  return encoded;
}

absl::StatusOr<Encoded> EncodeChat(const v1::Chat& chat, bool add_special, const PromptTools& tools,
                                   size_t max_tokens) {
  absl::StatusOr<std::string> text = RenderChat(chat, tools);
  if (!text.ok()) return text.status();
  return Encode("messages", *text, add_special, tools, max_tokens);
}

Encoded Copy(const v1::TokenIds& ids) { return {.ids = {ids.ids().begin(), ids.ids().end()}}; }

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
  // A template over its limits is no server that is full: the conversation is refused.
  if (text.status().code() == absl::StatusCode::kInvalidArgument ||
      text.status().code() == absl::StatusCode::kResourceExhausted) {
    const std::string message(text.status().message());
    constexpr std::string_view kKwargs = "chat_template_kwargs";
    return BadField(message.rfind(kKwargs, 0) == 0 ? kKwargs : "messages", message);
  }
  return text;
}

absl::StatusOr<Encoded> PromptTokens(const v1::GenerateRequest& request, const PromptTools& tools,
                                     size_t max_tokens) {
  if (request.has_token_ids()) return Copy(request.token_ids());
  const bool add_special =
      request.has_add_special_tokens() ? request.add_special_tokens() : !request.has_chat();
  if (request.has_chat()) return EncodeChat(request.chat(), add_special, tools, max_tokens);
  return Encode("prompt", request.text(), add_special, tools, max_tokens);
}

absl::StatusOr<Encoded> PromptTokens(const v1::ScoreRequest& request, const PromptTools& tools,
                                     size_t max_tokens) {
  if (request.has_token_ids()) return Copy(request.token_ids());
  const bool add_special = !request.has_add_special_tokens() || request.add_special_tokens();
  return Encode("prompt", request.text(), add_special, tools, max_tokens);
}

absl::StatusOr<Encoded> PromptTokens(const v1::TokenizeRequest& request, const PromptTools& tools) {
  const bool add_special =
      request.has_add_special_tokens() ? request.add_special_tokens() : !request.has_chat();
  if (request.has_chat()) return EncodeChat(request.chat(), add_special, tools, kNoLimit);
  return Encode("prompt", request.text(), add_special, tools, kNoLimit);
}

}  // namespace latentd
