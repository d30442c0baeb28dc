// Token log-probabilities in the three spellings that clients know. A logprob of minus infinity,
// which JSON cannot hold, is -9999, as vLLM writes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "latentd/v1/latentd.pb.h"
#include "server/json/json.h"

namespace latentd {

using TokenLogprobList = google::protobuf::RepeatedPtrField<v1::TokenLogprob>;

// OpenAI's legacy shape of completions, which grows token by token: {"text_offset",
// "token_logprobs", "tokens", "top_logprobs"}. Offsets count Unicode characters of the tokens' text
// from the first one added; a token that starts inside a character has that character's offset.
class LegacyLogprobs {
 public:
  // Appends one token to the lists in *out, making them where *out is null. `top` bounds the
  // alternatives; the token itself is always among them. A token without logprob has nulls.
  // `silent`: the token's text is not in the answer's (a special token), so it moves no offset.
  void Append(const v1::TokenLogprob& token, uint32_t top, bool silent, Json* out);

 private:
  size_t num_chars_ = 0;  // begun so far; a byte that continues nothing begins one
  int num_missing_ = 0;   // bytes that the last character still lacks
};

// Whether an echoed prompt's first token, unlike the others, has no part in its text: a mark of the
// beginning. `text` is that text, or as much of it as the token's bytes.
bool IsSilentStart(const v1::TokenLogprob& first, std::string_view text);

// The shape of chat: {"token", "logprob", "bytes", "top_logprobs": […]}.
Json ChatLogprob(const v1::TokenLogprob& token);

// vLLM's prompt_logprobs: [null, {"id": {"logprob", "rank", "decoded_token"}, …}, …].
Json PromptLogprobs(const TokenLogprobList& tokens, uint32_t top);

}  // namespace latentd
