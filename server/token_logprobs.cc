#include "server/token_logprobs.h"

#include <string>

#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

namespace latentd {
namespace {

void FillToken(const Tokenizer& tokenizer, uint32_t token, v1::TokenLogprob* out) {
  const std::string bytes = tokenizer.TokenBytes(token);
  out->set_token_id(token);
  out->set_token(ToValidUtf8(bytes));
  out->set_token_bytes(bytes);
}

void FillEntry(const Tokenizer& tokenizer, const LogprobEntry& entry, v1::TokenLogprob* out) {
  FillToken(tokenizer, entry.token, out);
  out->set_logprob(entry.logprob);
  out->set_rank(entry.rank);
}

}  // namespace

void FillTokenLogprob(const Tokenizer& tokenizer, uint32_t token, const TokenLogprobs* logprobs,
                      v1::TokenLogprob* out) {
  FillToken(tokenizer, token, out);
  if (logprobs == nullptr) return;
  out->set_logprob(logprobs->chosen.logprob);
  out->set_rank(logprobs->chosen.rank);
  for (const LogprobEntry& entry : logprobs->top) FillEntry(tokenizer, entry, out->add_top());
}

}  // namespace latentd
