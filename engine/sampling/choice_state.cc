#include "engine/sampling/choice_state.h"

#include <algorithm>
#include <limits>

#include "kernels/core/check.h"

namespace latentd {
namespace {

// A penalty may push a huge logit beyond fp32; the most likely token must stay finite.
float Clamp(float x) { return std::min(x, std::numeric_limits<float>::max()); }

}  // namespace

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
  for (const auto& [token, bias] : bias_) logits[token] = Clamp(logits[token] + bias);
  for (const uint32_t token : seen_) {
    float x = logits[token];
    x = x > 0 ? x / params_.repetition_penalty : x * params_.repetition_penalty;
    if (const uint32_t generated = uses_[token] - 1; generated > 0) {
      x -= params_.presence_penalty;
      x -= params_.frequency_penalty * static_cast<float>(generated);
    }
    logits[token] = Clamp(x);
  }
  if (!masking()) return;
  for (const uint32_t token : ending_) logits[token] = -std::numeric_limits<float>::infinity();
}

}  // namespace latentd
