#include "engine/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/sampling/philox.h"
#include "engine/sampling/row_scan.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

// The smallest whole number of units that is at least top_p of `mass`, and at least one.
uint64_t TopPMass(float top_p, uint64_t mass) {
  const double wanted = std::ceil(static_cast<double>(top_p) * static_cast<double>(mass));
  return std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, mass);
}

// The most likely token is taken, whatever the random bits.
bool IsGreedy(const SamplingParams& params) { return params.temperature == 0 || params.top_k == 1; }

// What top_k, top_p and min_p leave, in this order; top_p is a share of what top_k left. min_p is
// relative to the most likely token, which every filter before keeps.
RankedPrefix Filter(const SamplingParams& params, RankedMass* ranked) {
  RankedPrefix kept = ranked->All();
  if (params.top_k > 0) kept = ranked->FirstTokens(params.top_k);
  if (params.top_p < 1) kept = ranked->FirstMass(TopPMass(params.top_p, kept.mass));
  if (params.min_p > 0) {
    const RankedPrefix likely = ranked->AtLeast(params.min_p);
    if (likely.count < kept.count) kept = likely;
  }
  return kept;
}

}  // namespace

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
    return absl::InvalidArgumentError(
        "min_tokens and logit_bias leave no token that may come next");
  }
  const SamplingParams& params = state.params();
  if (IsGreedy(params)) return best;
  ranked_.Build(logits, params.temperature);
  const RankedPrefix kept = Filter(params, &ranked_);
  // The token at which the running mass first exceeds r · 2⁻²⁴ of what is kept, in exact integers.
  const auto target = static_cast<uint64_t>((static_cast<unsigned __int128>(kept.mass) * r) >> 24);
  return ranked_.FirstMass(target + 1).last_token;
}

}  // namespace latentd
