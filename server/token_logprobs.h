// Log-probabilities of the engine as messages with token texts.
#pragma once

#include "engine/engine.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

class Tokenizer;

// Fills id, text (U+FFFD for what is not UTF-8) and exact bytes of `token`. `logprobs` is null for
// a first token, which has none.
void FillTokenLogprob(const Tokenizer& tokenizer, uint32_t token, const TokenLogprobs* logprobs,
                      v1::TokenLogprob* out);

}  // namespace latentd
