// What the sampler knows of one choice: its parameters and the tokens it has seen.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/sampling/params.h"

namespace latentd {

// One thread at a time.
class ChoiceState {
 public:
  // `choice` is its index in the request. While fewer than min_tokens have been generated, `ending`
  // (eos and stop tokens) are masked; ids outside the vocabulary are ignored. Nothing is borrowed.
  ChoiceState(const SamplingParams& params, uint32_t choice, std::span<const uint32_t> prompt,
              uint32_t min_tokens, std::vector<uint32_t> ending, int64_t vocab_size);

  // The next token of the choice. REQUIRES: token < vocab_size.
  void Accept(uint32_t token);

  // It is one of `ending`.
  bool Ends(uint32_t token) const;

  // Whether Adjust would change anything at the next token.
  bool NeedsAdjusting() const;
  // Bias, penalties and masks of the next token, in that order, in place. logits: [vocab] fp32.
  void Adjust(std::span<float> logits) const;

  // What Adjust applies: biases of tokens inside the vocabulary; where a penalty is on, the
  // distinct tokens of prompt and output, each with how often it was generated; the tokens that
  // must not come next. Borrowed until the next Accept.
  std::span<const std::pair<uint32_t, float>> bias() const { return bias_; }
  std::span<const uint32_t> seen() const { return seen_; }
  uint32_t generated(uint32_t token) const { return uses_[token] - 1; }
  std::span<const uint32_t> masked() const {
    return masking() ? std::span<const uint32_t>(ending_) : std::span<const uint32_t>();
  }

  const SamplingParams& params() const { return params_; }
  uint32_t choice() const { return choice_; }
  uint64_t num_generated() const { return num_generated_; }

 private:
  bool masking() const { return num_generated_ < min_tokens_ && !ending_.empty(); }
  bool penalising() const { return !uses_.empty(); }
  void Notice(uint32_t token, uint32_t uses);

  SamplingParams params_;
  std::vector<std::pair<uint32_t, float>> bias_;
  uint32_t choice_;
  uint64_t min_tokens_;
  std::vector<uint32_t> ending_;
  uint64_t num_generated_ = 0;
  // Kept only where a penalty is on. uses_[t]: 0 never seen, else 1 + how often t was generated.
  std::vector<uint32_t> uses_;  // [vocab], or empty
  std::vector<uint32_t> seen_;  // distinct tokens of prompt and output
};

}  // namespace latentd
