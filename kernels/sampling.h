// The arithmetic of sampling, in one place for all devices, so that they draw the same tokens: how
// bias and penalties move a logit, how logits become probability mass, what the filters ask of it.
//
// Mass is exp((logit − max) / temperature) in fp32, counted in units of 2⁻⁴⁰ as a 64-bit integer.
// Integer sums do not depend on the order of adding, so how a device walks through a row never
// shows in the result, and no tail of a large vocabulary is lost to rounding. Tokens below
// e⁻²⁷·⁵ = 1.1e-12 of the most likely one have no mass and are never drawn.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/core/exp.h"

namespace latentd {

// A bias or penalty may push a huge logit beyond fp32; the most likely token must stay finite.
constexpr float ClampLogit(float x) { return std::min(x, std::numeric_limits<float>::max()); }

// Of a token that the prompt or the output holds; the output has `generated` of it.
struct Penalties {
  float repetition = 1;
  float presence = 0;
  float frequency = 0;

  constexpr float operator()(float logit, uint32_t generated) const {
    float x = logit > 0 ? logit / repetition : logit * repetition;
    if (generated > 0) {
      x -= presence;
      x -= frequency * static_cast<float>(generated);
    }
    return ClampLogit(x);
  }
};

// (logit − max) / temperature below which a token has no mass.
constexpr float kLowestScaled = -27.5F;

constexpr uint64_t MassOfWeight(float weight) {
  return static_cast<uint64_t>(static_cast<int64_t>(weight * 0x1p40F));
}
// The mass of a scaled logit. Never 0: exp(kLowestScaled) is 1.25 units. REQUIRES: kLowestScaled <=
// scaled <= 0.
constexpr uint64_t MassOf(float scaled) { return MassOfWeight(ExpNonPositive(scaled)); }

// From a logit to (logit − max) / temperature <= 0, and on to one of kBuckets buckets, which share
// out the range in use. Both are monotone: subtraction, division and multiplication by positive
// numbers round monotonically. The largest logit maps to 0 at every temperature, because it is
// subtracted first.
struct MassScale {
  static constexpr int kBuckets = 1024;

  float max;
  float temperature;
  float buckets_per_unit;

  // Of a row with these extremes. REQUIRES: max is finite, temperature > 0.
  static constexpr MassScale Of(float min, float max, float temperature) {
    MassScale scale = {max, temperature, 0};
    const float least = scale(min);
    const float lowest = least > kLowestScaled ? least : kLowestScaled;
    if (lowest < -1e-30F) scale.buckets_per_unit = static_cast<float>(kBuckets - 1) / -lowest;
    return scale;
  }
  constexpr float operator()(float logit) const { return (logit - max) / temperature; }
  // Of a logit below the range in use it is the last. REQUIRES: kLowestScaled <= scaled <= 0.
  constexpr int BucketOf(float scaled) const {
    return static_cast<int>(std::min(-scaled * buckets_per_unit, kBuckets - 1.0F));
  }
};

// What min_p asks of a scaled logit: −inf for 0. Logarithms are compared, because these are
// monotone in the logit, so that what is kept is a prefix. On the host alone, whose library the
// bits are of.
inline float MinPBound(float min_p) {
  return static_cast<float>(std::log(static_cast<double>(min_p)));
}

// The smallest whole number of units that is at least top_p of `mass`, and at least one.
// REQUIRES: 0 <= top_p <= 1.
constexpr uint64_t TopPMass(float top_p, uint64_t mass) {
  const double wanted = static_cast<double>(top_p) * static_cast<double>(mass);
  auto whole = static_cast<uint64_t>(wanted);
  if (static_cast<double>(whole) < wanted) ++whole;
  return std::clamp<uint64_t>(whole, 1, mass);
}

// floor(mass · r · 2⁻²⁴): the draw is the token at which the running mass first exceeds it.
// REQUIRES: r < 2²⁴.
constexpr uint64_t DrawTarget(uint64_t mass, uint32_t r) {
  constexpr uint64_t kLow = (uint64_t{1} << 24) - 1;
  return (mass >> 24) * r + (((mass & kLow) * r) >> 24);  // the first product is whole
}

}  // namespace latentd
