// The kernels of Sample.
#pragma once

#include "kernels/cuda/logprobs_body.h"
#include "kernels/cuda/sampler_body.h"

namespace latentd::cuda {

// As many as a block can have: a row is read by one processor, whose loads must overlap.
constexpr int kSamplerThreads = 1024;

// run(body) for each, in order.
template <int kThreads, typename Run>
void WithSampler(const SamplerArgs& args, const Run& run) {
  if (args.logits.rows == 0) return;
  LATENTD_CHECK(args.logits.cols >= 1 && args.logits.cols <= kMaxVocab);
  LATENTD_CHECK(args.logits.ld >= args.logits.cols && args.max_top >= -1);
  run(SamplerBody<kThreads>{{args}});
  if (args.max_top >= 0) run(LogprobsBody<kThreads>{args});
}

}  // namespace latentd::cuda
