// How the attention of a step is cut into launches: pure host functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/mla_attention.h"

namespace latentd {

// Neighbouring sequences of a batch that attend in one launch. Those at the ends may be there with
// some of their tokens only.
struct AttentionLaunch {
  std::vector<AttentionSequence> sequences;
  size_t first_sequence = 0;  // of the given ones: sequences[i] is (part of) number first + i
};

// Floats of partial sums (kernels/cuda/mla_decode.h) with which any token up to max_context can
// attend, whichever span its plan takes.
int64_t LeastPartialFloats(int64_t num_heads, int64_t row_latent, int64_t max_context);

// Whether one launch takes them all: CutLaunches gives no more.
bool FitOneLaunch(std::span<const AttentionSequence> sequences, int64_t num_heads,
                  int64_t row_latent, int64_t max_floats);

// Launches whose partial sums need no more than max_floats each, in order; together they have every
// token once. No bit of a row depends on the cuts. REQUIRES: every token alone fits.
std::vector<AttentionLaunch> CutLaunches(std::span<const AttentionSequence> sequences,
                                         int64_t num_heads, int64_t row_latent, int64_t max_floats);

}  // namespace latentd
