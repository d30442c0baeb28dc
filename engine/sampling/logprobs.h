// Log-probabilities of the raw distribution: the softmax of the logits as the model gave them,
// before any bias, penalty or temperature.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace latentd {

struct LogprobEntry {
  uint32_t token = 0;
  float logprob = 0;  // natural log; −inf where the model gives probability 0
  uint32_t rank = 0;  // 1 is the most likely; ties go to the lower id
};

struct TokenLogprobs {
  LogprobEntry chosen;
  std::vector<LogprobEntry> top;  // descending logprob, ties to the lower id
};

// The logprob and rank of `token`, and the num_top most likely tokens (fewer in a smaller
// vocabulary). The order of summation depends on the vocabulary alone, so equal rows give equal
// bits. Thread-safe. REQUIRES: CheckLogits(logits) is OK, token < logits.size().
TokenLogprobs RawLogprobs(std::span<const float> logits, uint32_t token, uint32_t num_top);

}  // namespace latentd
