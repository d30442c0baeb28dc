#include "engine/sampling/ranked_mass.h"

#include <algorithm>
#include <cmath>

#include "engine/sampling/exp.h"
#include "engine/sampling/row_scan.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

constexpr float kLowest = -27.5F;  // (logit − max) / temperature below which there is no mass
constexpr float kUnitsPerOne = 0x1p40F;  // exp(kLowest) is 1.25 units: every token kept has mass

}  // namespace

RankedMass::RankedMass(int64_t vocab_size)
    : bucket_of_(static_cast<size_t>(vocab_size)),
      weight_of_(static_cast<size_t>(vocab_size)),
      buckets_(kBuckets + 1) {
  order_.reserve(static_cast<size_t>(vocab_size));
}

uint16_t RankedMass::Scale::BucketOf(float scaled) const {
  return static_cast<uint16_t>(
      std::min(static_cast<int>(-scaled * buckets_per_unit), kBuckets - 1));
}

uint64_t RankedMass::MassOf(uint32_t token) const {
  return static_cast<uint64_t>(static_cast<int64_t>(weight_of_[token] * kUnitsPerOne));
}

// Apart from the counting, so that it becomes vector code.
void RankedMass::Weigh(std::span<const float> logits, Scale scale, float* weights,
                       uint16_t* buckets) {
  for (size_t i = 0; i < logits.size(); ++i) {
    const float scaled = scale(logits[i]);
    const float kept = scaled >= kLowest ? scaled : kLowest;
    const uint16_t bucket = scale.BucketOf(kept);
    weights[i] = ExpNonPositive(kept);
    buckets[i] = scaled >= kLowest ? bucket : kNoBucket;
  }
}

void RankedMass::Build(std::span<const float> logits, float temperature) {
  LATENTD_CHECK(logits.size() == bucket_of_.size() && temperature > 0);
  logits_ = logits;
  sorted_ = -1;
  const LogitRange range = RangeOf(logits);
  scale_ = {range.max, temperature, 0};
  // The buckets share out the range in use, so that they stay small at high temperatures too.
  const float lowest = std::max(kLowest, scale_(range.min));
  if (lowest < -1e-30F) scale_.buckets_per_unit = static_cast<float>(kBuckets - 1) / -lowest;
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

RankedPrefix RankedMass::AtLeast(float ratio) {
  LATENTD_CHECK(ratio > 0 && ratio <= 1);
  // Compared as logarithms: these are monotone in the logit, so that what is kept is a prefix.
  const auto bound = static_cast<float>(std::log(static_cast<double>(ratio)));
  if (bound <= kLowest) return all_;
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
