#include "engine/sampling/ranked_mass.h"

#include <algorithm>

#include "engine/sampling/row_scan.h"
#include "kernels/core/check.h"

namespace latentd {

RankedMass::RankedMass(int64_t vocab_size)
    : bucket_of_(static_cast<size_t>(vocab_size)),
      weight_of_(static_cast<size_t>(vocab_size)),
      buckets_(kBuckets + 1) {
  order_.reserve(static_cast<size_t>(vocab_size));
}

// Apart from the counting, so that it becomes vector code.
void RankedMass::Weigh(std::span<const float> logits, MassScale scale, float* weights,
                       uint16_t* buckets) {
  for (size_t i = 0; i < logits.size(); ++i) {
    const float scaled = scale(logits[i]);
    const float kept = scaled >= kLowestScaled ? scaled : kLowestScaled;
    const auto bucket = static_cast<uint16_t>(scale.BucketOf(kept));
    weights[i] = ExpNonPositive(kept);
    buckets[i] = scaled >= kLowestScaled ? bucket : kNoBucket;
  }
}

void RankedMass::Build(std::span<const float> logits, float temperature) {
  LATENTD_CHECK(logits.size() == bucket_of_.size() && temperature > 0);
  logits_ = logits;
  sorted_ = -1;
  const LogitRange range = RangeOf(logits);
  scale_ = MassScale::Of(range.min, range.max, temperature);
  Weigh(logits, scale_, weight_of_.data(), bucket_of_.data());
  std::fill(buckets_.begin(), buckets_.end(), Bucket{});
  for (size_t i = 0; i < logits.size(); ++i) {
    Bucket& bucket = buckets_[bucket_of_[i]];
    ++bucket.count;
    bucket.mass += MassOf(static_cast<uint32_t>(i));
  }
  buckets_[kNoBucket] = {};
  all_ = {};
  for (const Bucket& bucket : buckets_) {
    all_.count += bucket.count;
    all_.mass += bucket.mass;
  }
}

void RankedMass::SortBucket(int b) {
  if (sorted_ == b) return;
  sorted_ = b;
  order_.clear();
  for (size_t i = 0; i < bucket_of_.size(); ++i) {
    if (bucket_of_[i] == b) order_.push_back(static_cast<uint32_t>(i));
  }
  std::sort(order_.begin(), order_.end(), [this](uint32_t a, uint32_t c) {
    return logits_[a] != logits_[c] ? logits_[a] > logits_[c] : a < c;
  });
}

RankedPrefix RankedMass::FirstTokens(int64_t count) {
  LATENTD_CHECK(count >= 1);
  if (count >= all_.count) return all_;
  RankedPrefix prefix;
  int b = 0;
  for (; prefix.count + buckets_[b].count < count; ++b) {
    prefix.count += buckets_[b].count;
    prefix.mass += buckets_[b].mass;
  }
  SortBucket(b);
  for (size_t i = 0; prefix.count < count; ++i) {
    ++prefix.count;
    prefix.mass += MassOf(order_[i]);
    prefix.last_token = order_[i];
  }
  return prefix;
}

RankedPrefix RankedMass::FirstMass(uint64_t mass) {
  LATENTD_CHECK(mass >= 1 && mass <= all_.mass);
  RankedPrefix prefix;
  int b = 0;
  for (; prefix.mass + buckets_[b].mass < mass; ++b) {
    prefix.count += buckets_[b].count;
    prefix.mass += buckets_[b].mass;
  }
  SortBucket(b);
  for (size_t i = 0; prefix.mass < mass; ++i) {
    ++prefix.count;
    prefix.mass += MassOf(order_[i]);
    prefix.last_token = order_[i];
  }
  return prefix;
}

RankedPrefix RankedMass::AtLeast(float bound) {
  LATENTD_CHECK(bound <= 0);
  if (bound <= kLowestScaled) return all_;
  RankedPrefix prefix;
  const int last = scale_.BucketOf(bound);
  for (int b = 0; b < last; ++b) {
    prefix.count += buckets_[b].count;
    prefix.mass += buckets_[b].mass;
  }
  SortBucket(last);
  for (const uint32_t token : order_) {
    if (scale_(logits_[token]) < bound) break;
    ++prefix.count;
    prefix.mass += MassOf(token);
    prefix.last_token = token;
  }
  return prefix;
}

}  // namespace latentd
