// The way between choices and the sampler on a device (kernels/cuda/sampler.h): what is uploaded
// for a step, and what its results mean. Host memory only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/sampling/choice_state.h"
#include "engine/sampling/logprobs.h"
#include "kernels/cuda/sampler.h"

namespace latentd {

// Rows of a step and the lists that they refer to. One thread.
struct SamplerBatch {
  std::vector<cuda::SamplerRow> rows;
  std::vector<cuda::TokenUse> uses;
  std::vector<cuda::TokenBias> biases;
  std::vector<uint32_t> masked;
  std::vector<uint32_t> allowed;  // whole masks, one behind the other
  int32_t max_top = -1;           // largest num_logprobs

  // Keeps its memory.
  void Clear();
  // The row of the choice's next token. num_top: as RawLogprobs'; none: no logprobs. mask: as
  // Constraint::FillMask fills ceil(vocab / 32) words; empty: every token may come next. Nothing is
  // borrowed.
  void Add(const ChoiceState& choice, std::optional<uint32_t> num_top,
           std::span<const uint32_t> mask);
};

// The token drawn, or the errors of CheckLogits and Sampler::Draw.
absl::StatusOr<uint32_t> TokenOf(const cuda::SampledRow& row);

// What RawLogprobs gives for the row and its token. `top`: the first min(num_top, vocab) of the
// row. REQUIRES: the token was drawn, with logprobs.
TokenLogprobs LogprobsOf(const cuda::SampledRow& row, std::span<const cuda::TopLogit> top);

}  // namespace latentd
