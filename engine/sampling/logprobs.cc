#include "engine/sampling/logprobs.h"

#include <algorithm>
#include <cmath>

#include "engine/sampling/row_scan.h"
#include "kernels/core/check.h"
#include "kernels/core/exp.h"

namespace latentd {
namespace {

uint32_t Rank(std::span<const float> logits, uint32_t token) {
  const float own = logits[token];
  uint32_t rank = 1;
  for (size_t i = 0; i < logits.size(); ++i) {
    rank += static_cast<uint32_t>(logits[i] > own || (logits[i] == own && i < token));
  }
  return rank;
}

// The ids of the `count` largest logits, descending, ties to the lower id. One pass: a newcomer
// must beat the last of those kept, and equal ones that come later have the higher id.
auto Largest(std::span<const float> logits, size_t count, double log_sum) {
  decltype(TokenLogprobs::top) best;
  for (size_t i = 0; i < logits.size() && count > 0; ++i) {
    if (best.size() == count && !(logits[i] > logits[best.back().token])) continue;
    size_t place = best.size();
    while (place > 0 && logits[i] > logits[best[place - 1].token]) --place;
    if (best.size() == count) best.pop_back();  // first: there is no room for one more
    best.insert(best.begin() + static_cast<std::ptrdiff_t>(place),
                {static_cast<uint32_t>(i), 0, 0});
  }
  for (size_t i = 0; i < best.size(); ++i) {
    best[i].logprob = LogprobOf(logits[best[i].token], log_sum);
    best[i].rank = static_cast<uint32_t>(i + 1);
  }
  return best;
}

}  // namespace

// Eight partial sums in fp64 over indices i mod 8, folded left. The exponentials go through a small
// buffer, because loops that do one thing become vector code.
double SumExp(std::span<const float> logits, float max) {
  constexpr size_t kLanes = 8, kChunk = 512;
  double lanes[kLanes] = {};
  float weights[kChunk];
  while (!logits.empty()) {
    const size_t count = std::min(kChunk, logits.size());
    for (size_t i = 0; i < count; ++i) weights[i] = ExpNonPositive(logits[i] - max);
    std::fill(weights + count, weights + kChunk, 0.0F);
    for (size_t i = 0; i < kChunk; i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += static_cast<double>(weights[i + lane]);
      }
    }
    logits = logits.subspan(count);
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

double LogSumOf(float max, double exp_sum) { return static_cast<double>(max) + std::log(exp_sum); }

float LogprobOf(float logit, double log_sum) {
  return static_cast<float>(static_cast<double>(logit) - log_sum);
}

TokenLogprobs RawLogprobs(std::span<const float> logits, uint32_t token, uint32_t num_top) {
  LATENTD_CHECK(token < logits.size());
  const float max = RangeOf(logits).max;
  const double log_sum = LogSumOf(max, SumExp(logits, max));
  TokenLogprobs result;
  result.chosen.token = token;
  result.chosen.logprob = LogprobOf(logits[token], log_sum);
  result.chosen.rank = Rank(logits, token);
  result.top = Largest(logits, num_top, log_sum);
  return result;
}

}  // namespace latentd
