// Rows for the sampler on the device and on the CPU, and their results in one form.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "engine/sampling/choice_state.h"
#include "engine/sampling/logprobs.h"
#include "kernels/cuda/sampler.h"

namespace latentd::cuda {

struct SamplerCase {
  ChoiceState choice;
  std::vector<float> logits;
  std::optional<uint32_t> num_top;  // logprobs wanted
  std::vector<uint32_t> mask;       // as SamplerBatch::Add's
};

struct SamplerResult {
  SampleStatus status = SampleStatus::kDrawn;
  uint32_t token = 0;
  std::optional<TokenLogprobs> logprobs;
  double exp_sum = 0;  // where there are logprobs
};

// Every parameter and kind of row that there is, ties in plenty.
SamplerCase RandomCase(std::mt19937_64& random, size_t vocab);
// One without lists, mask and logprobs.
SamplerCase PlainCase(const SamplingParams& params, const std::vector<float>& logits);

SamplerResult SampleOnCpu(const SamplerCase& c);
// One launch. All rows of one vocabulary.
std::vector<SamplerResult> SampleOnDevice(const std::vector<SamplerCase>& cases);

// REQUIREs equal results, logprobs bit for bit.
void RequireSame(const SamplerResult& actual, const SamplerResult& expected);

}  // namespace latentd::cuda
