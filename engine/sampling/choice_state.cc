#include "engine/sampling/choice_state.h"

#include <algorithm>
#include <limits>

#include "kernels/core/check.h"
#include "kernels/sampling.h"

namespace latentd {

ChoiceState::ChoiceState(const SamplingParams& params, uint32_t choice,
                         std::span<const uint32_t> prompt, uint32_t min_tokens,
                         std::vector<uint32_t> ending, int64_t vocab_size)
    : params_(params), choice_(choice), min_tokens_(min_tokens), ending_(std::move(ending)) {
  const auto vocab = static_cast<size_t>(vocab_size);
  for (const auto& [token, bias] : params_.logit_bias) {
    if (token < vocab) bias_.emplace_back(token, bias);
  }
  std::erase_if(ending_, [vocab](uint32_t token) { return token >= vocab; });
  if (params_.repetition_penalty == 1 && params_.presence_penalty == 0 &&
      params_.frequency_penalty == 0) {
    return;
  }
  uses_.assign(vocab, 0);
  for (const uint32_t token : prompt) Notice(token, 0);
}

void ChoiceState::Notice(uint32_t token, uint32_t uses) {
  LATENTD_CHECK(token < uses_.size());
  if (uses_[token] == 0) {
    uses_[token] = 1;
    seen_.push_back(token);
  }
  uses_[token] += uses;
}

void ChoiceState::Accept(uint32_t token) {
  ++num_generated_;
  if (penalising()) Notice(token, 1);
}

bool ChoiceState::Ends(uint32_t token) const {
  return std::find(ending_.begin(), ending_.end(), token) != ending_.end();
}

bool ChoiceState::NeedsAdjusting() const { return !bias_.empty() || penalising() || masking(); }

void ChoiceState::Adjust(std::span<float> logits) const {
  for (const auto& [token, bias] : bias_) logits[token] = ClampLogit(logits[token] + bias);
  const Penalties penalise = {params_.repetition_penalty, params_.presence_penalty,
                              params_.frequency_penalty};
  for (const uint32_t token : seen_) logits[token] = penalise(logits[token], generated(token));
  for (const uint32_t token : masked()) logits[token] = -std::numeric_limits<float>::infinity();
}

}  // namespace latentd
