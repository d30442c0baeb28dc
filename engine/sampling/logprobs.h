// Log-probabilities of the raw distribution: the softmax of the logits as the model gave them,
// before any bias, penalty or temperature.
#pragma once

#include <cstdint>
#include <span>

#include "absl/container/inlined_vector.h"

namespace latentd {

inline constexpr uint32_t kMaxTopLogprobs = 20;  // alternatives that a token may have

struct LogprobEntry {
  uint32_t token = 0;
  float logprob = 0;  // natural log; −inf where the model gives probability 0
  uint32_t rank = 0;  // 1 is the most likely; ties go to the lower id
};

struct TokenLogprobs {
  LogprobEntry chosen;
  // Descending logprob, ties to the lower id. In place, so that a token's logprobs need no heap.
  absl::InlinedVector<LogprobEntry, kMaxTopLogprobs> top;
};

// The logprob and rank of `token`, and the num_top most likely tokens (fewer in a smaller
// vocabulary); up to kMaxTopLogprobs of them it allocates nothing. The order of summation depends
// on the vocabulary alone, so equal rows give equal bits. Thread-safe. REQUIRES:
// CheckLogits(logits) is OK, token < logits.size().
TokenLogprobs RawLogprobs(std::span<const float> logits, uint32_t token, uint32_t num_top);

// Its steps, for a device that does some of them: Σ exp(logit − max), where max is the largest
// logit; from both log Σ exp(logit); the logprob of a logit.
double SumExp(std::span<const float> logits, float max);
double LogSumOf(float max, double exp_sum);
float LogprobOf(float logit, double log_sum);

}  // namespace latentd
