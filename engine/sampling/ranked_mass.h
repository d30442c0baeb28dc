// The tokens of one row in descending order of logit (ties: lower id first) with their probability
// mass, sorted only where somebody looks.
//
// Every filter keeps a prefix of this order, and the draw asks how long a prefix must be to hold a
// given mass. So all that is needed is "the shortest prefix with so many tokens" and "… with so
// much mass". What mass is, kernels/sampling.h says: sums of integers, so that the buckets below
// never show in the result.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/sampling.h"

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
  // The tokens whose scaled logit is at least `bound`. REQUIRES: bound <= 0.
  RankedPrefix AtLeast(float bound);

 private:
  static constexpr int kBuckets = MassScale::kBuckets;
  static constexpr uint16_t kNoBucket = kBuckets;  // of tokens without mass

  struct Bucket {
    int64_t count = 0;
    uint64_t mass = 0;
  };

  static void Weigh(std::span<const float> logits, MassScale scale, float* weights,
                    uint16_t* buckets);
  // REQUIRES: the token has mass.
  uint64_t MassOf(uint32_t token) const { return MassOfWeight(weight_of_[token]); }
  // Sorts bucket b into order_.
  void SortBucket(int b);

  std::span<const float> logits_;
  MassScale scale_ = {};
  RankedPrefix all_;
  std::vector<uint16_t> bucket_of_;  // [vocab]
  std::vector<float> weight_of_;     // [vocab]; means nothing where there is no mass
  std::vector<Bucket> buckets_;      // [kBuckets + 1], descending; then kNoBucket's
  std::vector<uint32_t> order_;      // tokens of bucket sorted_, in order
  int sorted_ = -1;
};

}  // namespace latentd
