// The tokens of one row in descending order of logit (ties: lower id first) with their probability
// mass, sorted only where somebody looks.
//
// Every filter keeps a prefix of this order, and the draw asks how long a prefix must be to hold a
// given mass. So all that is needed is "the shortest prefix with so many tokens" and "… with so
// much mass".
//
// Mass is exp((logit − max) / temperature) in fp32, counted in units of 2⁻⁴⁰ as a 64-bit integer.
// Integer sums do not depend on the order of adding, so the bucketing below never shows in the
// result, and no tail of a large vocabulary is lost to rounding. Tokens below e⁻²⁷·⁵ = 1.1e-12 of
// the most likely one have no mass and are never drawn.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace latentd {

// The first `count` tokens of the order, their mass, and the last of them.
struct RankedPrefix {
  int64_t count = 0;
  uint64_t mass = 0;
  uint32_t last_token = 0;
};

// Workspace for one row at a time, reused without allocating. One thread.
class RankedMass {
 public:
  explicit RankedMass(int64_t vocab_size);

  // Takes a row. REQUIRES: logits.size() == vocab_size; no NaN, no +inf, at least one finite
  // number; temperature > 0. `logits` is borrowed until the next Build.
  void Build(std::span<const float> logits, float temperature);

  // All tokens with mass. last_token is not set.
  RankedPrefix All() const { return all_; }
  // The first `count` tokens; All() if there are fewer. REQUIRES: count >= 1.
  RankedPrefix FirstTokens(int64_t count);
  // The shortest prefix whose mass is at least `mass`. REQUIRES: 1 <= mass <= All().mass.
  RankedPrefix FirstMass(uint64_t mass);
  // The tokens whose probability is at least `ratio` times the largest. REQUIRES: 0 < ratio <= 1.
  RankedPrefix AtLeast(float ratio);

 private:
  static constexpr int kBuckets = 1024;
  static constexpr uint16_t kNoBucket = kBuckets;  // of tokens without mass

  // From a logit to (logit − max) / temperature <= 0, and on to its bucket. Both are monotone:
  // subtraction, division and multiplication by positive numbers round monotonically. The largest
  // logit maps to 0 at every temperature, because it is subtracted first.
  struct Scale {
    float max = 0, temperature = 1, buckets_per_unit = 0;
    float operator()(float logit) const { return (logit - max) / temperature; }
    // REQUIRES: kLowest <= scaled <= 0.
    uint16_t BucketOf(float scaled) const;
  };
  struct Bucket {
    int64_t count = 0;
    uint64_t mass = 0;
  };

  static void Weigh(std::span<const float> logits, Scale scale, float* weights, uint16_t* buckets);
  // REQUIRES: the token has mass.
  uint64_t MassOf(uint32_t token) const;
  // Sorts bucket b into order_.
  void SortBucket(int b);

  std::span<const float> logits_;
  Scale scale_;
  RankedPrefix all_;
  std::vector<uint16_t> bucket_of_;  // [vocab]
  std::vector<float> weight_of_;     // [vocab]; means nothing where there is no mass
  std::vector<Bucket> buckets_;      // [kBuckets + 1], descending; then kNoBucket's
  std::vector<uint32_t> order_;      // tokens of bucket sorted_, in order
  int sorted_ = -1;
};

}  // namespace latentd
