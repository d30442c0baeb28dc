// From a request's prompt to token ids: chat template and tokenizer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

class ChatTemplate;
class Tokenizer;

// Borrowed. chat_template is null when the model has none.
struct PromptTools {
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;
};

// The prompt that `chat` stands for. REQUIRES: chat passed the validator. INVALID_ARGUMENT with
// param "messages": the template refuses it.
absl::StatusOr<std::string> RenderChat(const v1::Chat& chat, const PromptTools& tools);

// Token ids of a validated prompt. Special tokens are added to text unless `add_special` says
// otherwise; templates write their own, so chat has none by default.
absl::StatusOr<std::vector<uint32_t>> PromptTokens(const v1::GenerateRequest& request,
                                                   const PromptTools& tools);
absl::StatusOr<std::vector<uint32_t>> PromptTokens(const v1::ScoreRequest& request,
                                                   const PromptTools& tools);
absl::StatusOr<std::vector<uint32_t>> PromptTokens(const v1::TokenizeRequest& request,
                                                   const PromptTools& tools);

}  // namespace latentd
