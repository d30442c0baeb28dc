// The sampler of a step on the device: from rows of logits to tokens, without the logits ever going
// to the host. The rules are behaviour.md's "Sampling, in this order", the arithmetic is
// kernels/sampling.h's.
//
// What is promised: token, status, rank, exp_sum and the most likely tokens are, bit for bit, those
// of the CPU's sampler (engine/sampling), whatever else is in the batch.
//  - The CPU's sums of mass are sums of integers: any order of adding gives them.
//  - Filters and draw ask where a running sum over descending logits, ties by id, crosses a bound.
//    A search by histograms finds that token: no sort, and nothing that depends on an order.
//  - Everything else on the way is an IEEE operation or a comparison. What takes a library (the
//    logarithms of min_p and of exp_sum) is done on the host.
//  - exp_sum alone is a sum of floating-point numbers; it has the CPU's order.
//
// One step of an engine, n rows of V logits:
//   up    80 bytes a row; 8 for each token that a penalty knows or a bias names, 4 for each that is
//         masked, V / 8 for each constrained row. Lists may stay on the device: a new token adds or
//         changes one entry of `uses`.
//   down  32 bytes a row, and 8 for each of its most likely tokens: `sampled` and, right behind it,
//         `top` make one copy.
// engine/sampling/sampler_batch.h makes the rows of choices and the results of the answer.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/core/tensor.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// Ids are 24 bits of the order of tokens, and the mass of so many is below 2⁶⁴.
constexpr int64_t kMaxVocab = (int64_t{1} << 24) - 1;

// A token of the prompt or the output; `generated` counts it in the output.
struct TokenUse {
  uint32_t token;
  uint32_t generated;
};
struct TokenBias {
  uint32_t token;
  float bias;  // finite
};
// A part of a list.
struct ListRange {
  uint32_t first = 0;
  uint32_t count = 0;
};

// What one row wants; values are validated (behaviour.md). In a list a token stands once, except in
// `masked`.
struct SamplerRow {
  uint64_t seed = 0;  // of the draw, with choice and position (kernels/core/philox.h)
  uint64_t position = 0;
  uint32_t choice = 0;
  float temperature = 1;                                        // 0: greedy
  int32_t top_k = 0;                                            // 0: off; 1: greedy
  float top_p = 1;                                              // 1: off
  float min_p_bound = -std::numeric_limits<float>::infinity();  // MinPBound(min_p); −inf: off
  float repetition_penalty = 1;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  ListRange uses;             // in SamplerArgs::uses; empty where no penalty is on
  ListRange biases;           // in SamplerArgs::biases
  ListRange masked;           // in SamplerArgs::masked: tokens that must not come next
  int32_t allowed = -1;       // row of SamplerArgs::allowed, if what may come next is constrained
  int32_t num_logprobs = -1;  // most likely tokens to name; −1: no logprobs at all
};
static_assert(sizeof(SamplerRow) == 80);

enum class SampleStatus : uint32_t {
  kDrawn,
  kNotANumber,   // the row holds a NaN, +inf or no finite number
  kNothingLeft,  // masks and biases leave no token
};

// The first four: where logprobs are wanted and a token was drawn, else 0.
struct SampledRow {
  double exp_sum;   // Σ exp(logit − max_logit) of the raw row
  float max_logit;  // of the raw row
  float logit;      // raw, of the token: logprob = logit − (max_logit + ln exp_sum)
  uint32_t rank;    // of the token in the raw row; 1 is the most likely
  uint32_t token;   // 0 unless drawn
  SampleStatus status;
  uint32_t padding;
};
static_assert(sizeof(SampledRow) == 32);

struct TopLogit {
  uint32_t token;
  float logit;  // raw
};

struct SamplerArgs {
  MatrixView<const float> logits;  // [n, V]; unchanged
  const SamplerRow* rows;          // [n]
  const TokenUse* uses;
  const TokenBias* biases;
  const uint32_t* masked;
  const uint32_t* allowed;  // [.., ceil(V / 32)]; bit t % 32 of word t / 32: token t may come next
  float* adjusted;      // [n, V] workspace; rows without lists and constraint do not touch theirs
  SampledRow* sampled;  // [n], overwritten
  TopLogit* top;        // [n, max_top]; the first min(num_logprobs, V) of a row are overwritten,
                        // descending, ties to the lower id, where a token was drawn
  int32_t max_top;      // no row's num_logprobs is larger; −1: no row wants logprobs
};

// Pointers are device memory, borrowed until the stream has run it; lists that no row refers to may
// be null. Enqueues a kernel, a second one for logprobs, and returns. Any thread, one at a time per
// stream. A fault of a row is in its status and touches no other row; an id in a list that is not
// below V traps, which fails the stream. REQUIRES: 1 <= V <= kMaxVocab.
void Sample(CUstream_st* stream, const SamplerArgs& args);

}  // namespace latentd::cuda
