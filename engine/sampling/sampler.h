// Draws the next token of a choice from a logits row (behaviour.md, "Sampling, in this order"):
// logit_bias → repetition penalty → presence and frequency penalties → min_tokens mask →
// temperature → top_k → top_p → min_p → draw. Every tie goes to the lower id.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/sampling/choice_state.h"
#include "engine/sampling/ranked_mass.h"

namespace latentd {

// Masks and biases leave no token: INVALID_ARGUMENT, the fault of the request.
absl::Status NothingLeftError();

// Owns the workspace of one row; draws without allocating. One thread.
class Sampler {
 public:
  explicit Sampler(int64_t vocab_size);

  // The token after those that `state` has seen; the caller tells the state of it. The result is a
  // function of (seed, choice, number of tokens generated), the parameters, the history and the
  // row: nothing of an earlier call remains. logits: [vocab] fp32, unchanged. REQUIRES:
  // CheckLogits(logits) is OK. NothingLeftError() when masks and biases
  // leave no token.
  absl::StatusOr<uint32_t> Draw(const ChoiceState& state, std::span<const float> logits);

  // The same with the 24 random bits given: inverse CDF at r · 2⁻²⁴. REQUIRES: r < 2²⁴.
  absl::StatusOr<uint32_t> DrawAt(const ChoiceState& state, std::span<const float> logits,
                                  uint32_t r);

 private:
  std::vector<float> adjusted_;  // [vocab]
  RankedMass ranked_;
};

}  // namespace latentd
