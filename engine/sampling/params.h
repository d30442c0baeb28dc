// How one request wants its tokens drawn. Values are already validated.
#pragma once

#include <cstdint>
#include <map>

namespace latentd {

// Applied in the order of behaviour.md, "Sampling, in this order"; see Sampler.
struct SamplingParams {
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: off
  float top_p = 1;        // 1: off
  float min_p = 0;        // 0: off
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  std::map<uint32_t, float> logit_bias;
};

}  // namespace latentd
