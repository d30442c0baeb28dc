#include "engine/sampling/sampler.h"

#include <algorithm>
#include <limits>

#include "engine/sampling/row_scan.h"
#include "kernels/core/check.h"
#include "kernels/core/philox.h"

namespace latentd {
namespace {

// The most likely token is taken, whatever the random bits.
bool IsGreedy(const SamplingParams& params) { return params.temperature == 0 || params.top_k == 1; }

// What top_k, top_p and min_p leave, in this order; top_p is a share of what top_k left. min_p is
// relative to the most likely token, which every filter before keeps.
RankedPrefix Filter(const SamplingParams& params, RankedMass* ranked) {
  RankedPrefix kept = ranked->All();
  if (params.top_k > 0) kept = ranked->FirstTokens(params.top_k);
  if (params.top_p < 1) kept = ranked->FirstMass(TopPMass(params.top_p, kept.mass));
  if (params.min_p > 0) {
    const RankedPrefix likely = ranked->AtLeast(MinPBound(params.min_p));
    if (likely.count < kept.count) kept = likely;
  }
  return kept;
}

}  // namespace

absl::Status NothingLeftError() {
  return absl::InvalidArgumentError("min_tokens and logit_bias leave no token that may come next");
}

Sampler::Sampler(int64_t vocab_size)
    : adjusted_(static_cast<size_t>(vocab_size)), ranked_(vocab_size) {}

absl::StatusOr<uint32_t> Sampler::Draw(const ChoiceState& state, std::span<const float> logits) {
  if (IsGreedy(state.params())) return DrawAt(state, logits, 0);
  return DrawAt(state, logits,
                DrawBits(state.params().seed, state.choice(), state.num_generated()));
}

absl::StatusOr<uint32_t> Sampler::DrawAt(const ChoiceState& state, std::span<const float> logits,
                                         uint32_t r) {
  LATENTD_CHECK(logits.size() == adjusted_.size() && r < (1U << 24));
  if (state.NeedsAdjusting()) {
    std::copy(logits.begin(), logits.end(), adjusted_.begin());
    state.Adjust(adjusted_);
    logits = adjusted_;
  }
  const uint32_t best = FirstLargest(logits);
  if (logits[best] == -std::numeric_limits<float>::infinity()) {
    return NothingLeftError();
  }
  const SamplingParams& params = state.params();
  if (IsGreedy(params)) return best;
  ranked_.Build(logits, params.temperature);
  const RankedPrefix kept = Filter(params, &ranked_);
  // The token at which the running mass first exceeds r · 2⁻²⁴ of what is kept, in exact integers.
  return ranked_.FirstMass(DrawTarget(kept.mass, r) + 1).last_token;
}

}  // namespace latentd
