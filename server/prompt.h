// From a request's prompt to token ids: chat template and tokenizer.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

class ChatTemplate;

// Borrowed. chat_template is null when the model has none.
struct PromptTools {
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;
};

// The prompt that `chat` stands for. REQUIRES: chat passed the validator. INVALID_ARGUMENT with
// param "messages": the template refuses it.
absl::StatusOr<std::string> RenderChat(const v1::Chat& chat, const PromptTools& tools);

// Token ids of a validated prompt. Special tokens are added to text unless `add_special` says
// otherwise; templates write their own, so chat has none by default. A text of more than
// `max_tokens` may be given up early: Encoded::at_least.
absl::StatusOr<Tokenizer::Encoded> PromptTokens(const v1::GenerateRequest& request,
                                                const PromptTools& tools, size_t max_tokens);
absl::StatusOr<Tokenizer::Encoded> PromptTokens(const v1::ScoreRequest& request,
                                                const PromptTools& tools, size_t max_tokens);
absl::StatusOr<Tokenizer::Encoded> PromptTokens(const v1::TokenizeRequest& request,
                                                const PromptTools& tools);

}  // namespace latentd
