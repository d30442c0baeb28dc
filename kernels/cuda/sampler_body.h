// The draws of Sample: a block for each row.
#pragma once

#include <limits>

#include "kernels/core/philox.h"
#include "kernels/cuda/adjusted_rows.h"
#include "kernels/cuda/ranked_search.h"

namespace latentd::cuda {

// Reads a row three times, and once more for each digit that a search needs: that of top_k, of
// top_p and of the draw, as far as they are on. Results do not depend on the number of threads.
template <int kNumThreads>
struct SamplerBody {
  static constexpr int kThreads = kNumThreads;
  static constexpr int kParts = 32;
  struct Shared {
    uint32_t num_bad;     // raw logits that are NaN or +inf
    uint32_t num_finite;  // raw logits
    uint32_t first_key;   // LogitKey of the largest adjusted logit
    uint32_t last_key;    // of the smallest
    uint32_t best;        // the lowest id of the largest, where greedy
    MassScale scale;
    BucketHistogram buckets;
    DigitHistogram digits;
    uint64_t likely[kParts];  // mass that min_p leaves
    uint64_t kept;            // mass that the filters so far leave: of a prefix of the order
    Search search;
  };
  struct Thread {};

  AdjustedRows rows;

  int64_t NumBlocks() const { return rows.args.logits.rows; }
  LATENTD_HD int NumPhases() const { return kFirstSearch + kSearches * kSearchPhases + 1; }
  LATENTD_HD void Run(int phase, int64_t r, int thread, Thread&, Shared& shared) const {
    if (phase == kStart) return Start(thread, shared);
    if (phase == kCheck) return Check(r, thread, shared);
    if (phase + 1 == NumPhases()) return Finish(r, thread, shared);
    if (IsBroken(shared)) return;
    if (phase == kBias) return rows.AddBiases(r, thread, kThreads);
    if (phase == kPenalise) return rows.Penalise(r, thread, kThreads);
    if (phase == kMask) return rows.Mask(r, thread, kThreads);
    if (phase == kRange) return FindRange(r, thread, shared);
    if (IsImpossible(shared)) return;
    if (IsGreedy(r)) {
      if (phase == kScale) FindBest(r, thread, shared);
      return;
    }
    if (phase == kScale) return SetScale(r, thread, shared);
    if (phase == kWeigh) return Weigh(r, thread, shared);
    if (phase == kSum) return shared.buckets.SumGroups(thread, kThreads);
    RunSearch(phase - kFirstSearch, r, thread, shared);
  }

 private:
  enum Phase {
    kStart,
    kCheck,
    kBias,
    kPenalise,
    kMask,
    kRange,
    kScale,
    kWeigh,
    kSum,
    kFirstSearch
  };
  enum Stage { kTopK, kTopP, kDraw, kSearches };
  enum DigitPhase { kClearDigits, kCountDigits, kSumDigits, kEnterDigit, kDigitPhases };
  static constexpr int kSearchPhases = 1 + kDigits * kDigitPhases;

  LATENTD_HD const SamplerRow& Row(int64_t r) const { return rows.args.rows[r]; }
  LATENTD_HD bool IsGreedy(int64_t r) const { return Row(r).temperature == 0 || Row(r).top_k == 1; }
  LATENTD_HD static bool IsBroken(const Shared& shared) {
    return shared.num_bad > 0 || shared.num_finite == 0;
  }
  LATENTD_HD static bool IsImpossible(const Shared& shared) {
    return shared.first_key == LogitKey(AdjustedRows::kImpossible);
  }

  LATENTD_HD void Start(int thread, Shared& shared) const {
    shared.buckets.Clear(thread, kThreads);
    for (int i = thread; i < kParts; i += kThreads) shared.likely[i] = 0;
    if (thread > 0) return;
    shared.num_bad = shared.num_finite = 0;
    shared.first_key = shared.best = ~0U;
    shared.last_key = 0;
  }
  LATENTD_HD void Check(int64_t r, int thread, Shared& shared) const {
    constexpr float kMax = std::numeric_limits<float>::max();
    const bool is_adjusted = rows.IsAdjusted(r);
    const float* raw = rows.Raw(r);
    uint32_t num_bad = 0, num_finite = 0;
    for (int64_t t = thread; t < rows.Vocab(); t += kThreads) {
      num_bad += raw[t] <= kMax ? 0 : 1;
      num_finite += raw[t] >= -kMax ? 1 : 0;
      if (is_adjusted) rows.Copy(r, t);
    }
    AtomicAdd(shared.num_bad, num_bad);
    AtomicAdd(shared.num_finite, num_finite);
  }
  LATENTD_HD void FindRange(int64_t r, int thread, Shared& shared) const {
    const float* logits = rows.Logits(r);
    uint32_t first = ~0U, last = 0;
    for (int64_t t = thread; t < rows.Vocab(); t += kThreads) {
      const uint32_t key = LogitKey(logits[t]);
      first = key < first ? key : first;
      last = key > last ? key : last;
    }
    AtomicMin(shared.first_key, first);
    AtomicMax(shared.last_key, last);
  }
  LATENTD_HD void FindBest(int64_t r, int thread, Shared& shared) const {
    const float* logits = rows.Logits(r);
    int64_t t = thread;
    while (t < rows.Vocab() && LogitKey(logits[t]) != shared.first_key) t += kThreads;
    if (t < rows.Vocab()) AtomicMin(shared.best, static_cast<uint32_t>(t));
  }
  LATENTD_HD void SetScale(int64_t r, int thread, Shared& shared) const {
    if (thread > 0) return;
    shared.scale = MassScale::Of(LogitOfKey(shared.last_key), LogitOfKey(shared.first_key),
                                 Row(r).temperature);
  }
  LATENTD_HD void Weigh(int64_t r, int thread, Shared& shared) const {
    const float* logits = rows.Logits(r);
    const MassScale scale = shared.scale;
    const float bound = Row(r).min_p_bound;
    uint64_t likely = 0;
    for (int64_t t = thread; t < rows.Vocab(); t += kThreads) {
      const float scaled = scale(logits[t]);
      if (!(scaled >= kLowestScaled)) continue;
      const uint64_t mass = MassOf(scaled);
      AddToken(shared.buckets.bins[scale.BucketOf(scaled)], mass, t);
      if (scaled >= bound) likely += mass;
    }
    AtomicAdd(shared.likely[thread % kParts], likely);
  }

  LATENTD_HD void RunSearch(int phase, int64_t r, int thread, Shared& shared) const {
    const int step = phase % kSearchPhases - 1;
    if (step < 0) {
      if (thread == 0) Begin(static_cast<Stage>(phase / kSearchPhases), r, shared);
      return;
    }
    const int digit = step / kDigitPhases, digit_phase = step % kDigitPhases;
    Search& search = shared.search;
    if (digit_phase == kEnterDigit && thread > 0) return;  // thread 0 writes what the others read
    if (!search.IsOpen()) return;
    if (digit_phase == kClearDigits) {
      shared.digits.Clear(thread, kThreads);
    } else if (digit_phase == kCountDigits) {
      CountDigits(rows.Logits(r), rows.Vocab(), shared.scale, search, digit, thread, kThreads,
                  shared.digits);
    } else if (digit_phase == kSumDigits) {
      shared.digits.SumGroups(thread, kThreads);
    } else {
      search.EnterDigit(shared.digits);
    }
  }
  // Takes over what the search before this one found, which was for a filter, and sets out.
  LATENTD_HD void Begin(Stage stage, int64_t r, Shared& shared) const {
    const SamplerRow& row = Row(r);
    Search next = {};
    if (stage == kTopK) {
      const Bin all = shared.buckets.All();
      shared.kept = all.mass;
      next.active = row.top_k > 0 && static_cast<uint32_t>(row.top_k) < all.count;
      next.wanted = static_cast<uint64_t>(row.top_k);
    } else {
      next.by_mass = true;
      if (shared.search.active) shared.kept = shared.search.MassReached();
    }
    if (stage == kTopP) {
      next.active = row.top_p < 1;
      next.wanted = TopPMass(row.top_p, shared.kept);
    } else if (stage == kDraw) {
      KeepLikely(row, shared);
      next.active = true;
      next.wanted = DrawTarget(shared.kept, DrawBits(row.seed, row.choice, row.position)) + 1;
    }
    shared.search = next;
    if (next.active) shared.search.EnterBucket(shared.buckets);
  }
  // Filters keep prefixes of one order and every token in them has mass, so the shorter of two is
  // the one with less.
  LATENTD_HD void KeepLikely(const SamplerRow& row, Shared& shared) const {
    if (row.min_p_bound <= kLowestScaled) return;
    uint64_t likely = 0;
    for (const uint64_t part : shared.likely) likely += part;
    if (likely < shared.kept) shared.kept = likely;
  }

  LATENTD_HD void Finish(int64_t r, int thread, const Shared& shared) const {
    if (thread > 0) return;
    SampledRow result = {};
    if (IsBroken(shared)) {
      result.status = SampleStatus::kNotANumber;
    } else if (IsImpossible(shared)) {
      result.status = SampleStatus::kNothingLeft;
    } else {
      result.status = SampleStatus::kDrawn;
      result.token = IsGreedy(r) ? shared.best : shared.search.Token();
    }
    rows.args.sampled[r] = result;
  }
};

}  // namespace latentd::cuda
