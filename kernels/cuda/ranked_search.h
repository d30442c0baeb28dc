// Where a running sum over the tokens of a row, in their order (rank_key.h), reaches what is
// wanted.
//
// A histogram narrows it down: bins follow each other in the order of tokens, so the bin in which
// the sum gets there is found from the bins' sums, and only its tokens are looked at again, in
// finer bins. The first bins are MassScale's buckets; they spread the tokens well, which keeps the
// threads of a block out of each other's way, and serve every search of the row. The finer ones are
// the digits of the rank key, most significant first. Keys are unique, so the last digit leaves one
// token, and where no logits are equal the fourth does.
#pragma once

#include "kernels/cuda/atomic.h"
#include "kernels/cuda/body.h"
#include "kernels/cuda/rank_key.h"
#include "kernels/sampling.h"

namespace latentd::cuda {

struct Bin {
  uint64_t mass;
  uint32_t count;
  uint32_t tokens;  // sum of the ids, modulo 2³²: the id itself where count is 1
};

LATENTD_HD inline void AddToken(Bin& bin, uint64_t mass, int64_t token) {
  AtomicAdd(bin.mass, mass);
  AtomicAdd(bin.count, 1U);
  AtomicAdd(bin.tokens, static_cast<uint32_t>(token));
}

LATENTD_HD inline void Add(const Bin& bin, Bin& sum) {
  sum.mass += bin.mass;
  sum.count += bin.count;
  sum.tokens += bin.tokens;
}

// Bins in groups of equal size, whose sums save steps of a walk.
template <int kCount, int kGroupSize>
struct Histogram {
  static constexpr int kGroups = kCount / kGroupSize;
  static_assert(kGroups * kGroupSize == kCount);

  Bin bins[kCount];
  Bin groups[kGroups];  // SumGroups sets them

  LATENTD_HD void Clear(int thread, int num_threads) {
    for (int i = thread; i < kCount; i += num_threads) bins[i] = Bin{};
  }
  LATENTD_HD void SumGroups(int thread, int num_threads) {
    for (int g = thread; g < kGroups; g += num_threads) {
      Bin sum = {};
      for (int i = 0; i < kGroupSize; ++i) Add(bins[g * kGroupSize + i], sum);
      groups[g] = sum;
    }
  }
  LATENTD_HD Bin All() const {
    Bin sum = {};
    for (const Bin& group : groups) Add(group, sum);
    return sum;
  }
};

constexpr int kDigitBits = 8;
constexpr int kDigits = kRankKeyBits / kDigitBits;
using BucketHistogram = Histogram<MassScale::kBuckets, 32>;
using DigitHistogram = Histogram<1 << kDigitBits, 16>;

// One search, kept in shared memory and moved on by one thread.
struct Search {
  bool active;
  bool by_mass;          // what is wanted is mass; otherwise it is a number of tokens
  uint64_t wanted;       // at least 1, at most what all tokens have
  uint64_t mass_before;  // of the tokens in front of `inside`
  uint64_t count_before;
  Bin inside;       // the tokens among which the sum gets there
  int bucket;       // theirs
  uint64_t prefix;  // of their rank keys: the digits found so far

  // There is more than one of them.
  LATENTD_HD bool IsOpen() const { return active && inside.count > 1; }
  // Once only one is left: the mass up to it, and itself.
  LATENTD_HD uint64_t MassReached() const { return mass_before + inside.mass; }
  LATENTD_HD uint32_t Token() const { return inside.tokens; }

  // Move to the bin in which the sum gets there: of all tokens, or of those of `inside`.
  LATENTD_HD void EnterBucket(const BucketHistogram& buckets) { bucket = Enter(buckets); }
  LATENTD_HD void EnterDigit(const DigitHistogram& digits) {
    prefix = prefix << kDigitBits | static_cast<uint64_t>(Enter(digits));
  }

 private:
  template <int kCount, int kGroupSize>
  LATENTD_HD int Enter(const Histogram<kCount, kGroupSize>& histogram) {
    int group = 0;
    while (StepOver(histogram.groups[group])) ++group;
    int bin = group * kGroupSize;
    while (StepOver(histogram.bins[bin])) ++bin;
    inside = histogram.bins[bin];
    return bin;
  }
  LATENTD_HD bool StepOver(const Bin& bin) {
    const uint64_t reached = by_mass ? mass_before + bin.mass : count_before + bin.count;
    if (reached >= wanted) return false;
    mass_before += bin.mass;
    count_before += bin.count;
    return true;
  }
};

// Adds the tokens that the search is among to the bins of the next digit; `digit` counts from 0.
LATENTD_HD inline void CountDigits(const float* logits, int64_t vocab, const MassScale& scale,
                                   const Search& search, int digit, int thread, int num_threads,
                                   DigitHistogram& digits) {
  const int shift = kRankKeyBits - kDigitBits * (digit + 1);
  for (int64_t t = thread; t < vocab; t += num_threads) {
    const float scaled = scale(logits[t]);
    if (!(scaled >= kLowestScaled) || scale.BucketOf(scaled) != search.bucket) continue;
    const uint64_t key = RankKey(logits[t], t) >> shift;
    if (key >> kDigitBits != search.prefix) continue;
    AddToken(digits.bins[key & ((1 << kDigitBits) - 1)], MassOf(scaled), t);
  }
}

}  // namespace latentd::cuda
