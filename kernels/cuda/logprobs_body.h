// The logprobs of Sample, of rows that want them and whose token was drawn: a block for each row.
#pragma once

#include "kernels/core/exp.h"
#include "kernels/cuda/atomic.h"
#include "kernels/cuda/body.h"
#include "kernels/cuda/rank_key.h"
#include "kernels/cuda/sampler.h"

namespace latentd::cuda {

// The order of exp_sum is the CPU's (engine/sampling/logprobs.cc): eight sums in fp64 over ids
// mod 8, folded from the left. So eight threads add, 256 exponentials each between two barriers,
// which all threads have made: at 256k tokens a chain of 32k additions, some 0.2 ms.
template <int kNumThreads>
struct LogprobsBody {
  static constexpr int kThreads = kNumThreads;
  static constexpr int kLanes = 8;
  static constexpr int kChunk = 2048;
  static constexpr int kGroups = 32;
  static_assert(kThreads % kGroups == 0);
  struct Shared {
    uint32_t first_key;   // LogitKey of the largest logit
    uint32_t num_before;  // tokens more likely than the one drawn
    double lanes[kLanes];
    float weights[kChunk];
    uint64_t best[kThreads];  // rank keys
    uint64_t group_best[kGroups];
    uint64_t last;  // of the token listed last
  };
  struct Thread {
    uint64_t best;  // first rank key of the thread's tokens that is not listed yet
  };

  SamplerArgs args;

  int64_t NumBlocks() const { return args.logits.rows; }
  LATENTD_HD int NumPhases() const {
    return 2 + 2 * static_cast<int>(NumChunks()) + kTopPhases * args.max_top + 1;
  }
  LATENTD_HD void Run(int phase, int64_t r, int thread, Thread& own, Shared& shared) const {
    if (phase + 1 == NumPhases() && thread > 0) return;  // thread 0 writes what the others read
    if (args.rows[r].num_logprobs < 0 || args.sampled[r].status != SampleStatus::kDrawn) return;
    if (phase == 0) return Start(thread, shared);
    if (phase == 1) return Scan(r, thread, shared);
    if (phase + 1 == NumPhases()) return Finish(r, shared);
    const int sum_phase = phase - 2, top_phase = sum_phase - 2 * static_cast<int>(NumChunks());
    if (top_phase >= 0) return List(top_phase, r, thread, own, shared);
    if (sum_phase % 2 == 0) return Weigh(r, sum_phase / 2, thread, shared);
    if (thread < kLanes) AddWeights(thread, shared);
  }

 private:
  enum TopPhase { kPropose, kFold, kChoose, kTopPhases };

  LATENTD_HD int64_t Vocab() const { return args.logits.cols; }
  LATENTD_HD int64_t NumChunks() const { return CeilDiv(Vocab(), kChunk); }

  LATENTD_HD void Start(int thread, Shared& shared) const {
    if (thread < kLanes) shared.lanes[thread] = 0;
    if (thread > 0) return;
    shared.first_key = ~0U;
    shared.num_before = 0;
  }
  LATENTD_HD void Scan(int64_t r, int thread, Shared& shared) const {
    const float* logits = RowOf(args.logits, r);
    const uint32_t token = args.sampled[r].token;
    const uint64_t drawn = RankKey(logits[token], token);
    uint32_t first = ~0U, num_before = 0;
    for (int64_t t = thread; t < Vocab(); t += kThreads) {
      const uint32_t key = LogitKey(logits[t]);
      first = key < first ? key : first;
      num_before += RankKey(logits[t], t) < drawn ? 1 : 0;
    }
    AtomicMin(shared.first_key, first);
    AtomicAdd(shared.num_before, num_before);
  }
  // Weights past the row are 0, which changes no sum.
  LATENTD_HD void Weigh(int64_t r, int chunk, int thread, Shared& shared) const {
    const float* logits = RowOf(args.logits, r);
    const float max = LogitOfKey(shared.first_key);
    for (int i = thread; i < kChunk; i += kThreads) {
      const int64_t t = int64_t{chunk} * kChunk + i;
      shared.weights[i] = t < Vocab() ? ExpNonPositive(logits[t] - max) : 0;
    }
  }
  LATENTD_HD void AddWeights(int lane, Shared& shared) const {
    double sum = shared.lanes[lane];
    for (int i = lane; i < kChunk; i += kLanes) sum += static_cast<double>(shared.weights[i]);
    shared.lanes[lane] = sum;
  }

  // One token a turn. Only the thread whose token was listed looks for its next.
  LATENTD_HD void List(int top_phase, int64_t r, int thread, Thread& own, Shared& shared) const {
    const int turn = top_phase / kTopPhases;
    if (turn >= args.rows[r].num_logprobs || turn >= Vocab()) return;
    if (top_phase % kTopPhases == kPropose) {
      if (turn == 0) own.best = NextFrom(r, 0, thread);
      if (turn > 0 && own.best == shared.last) own.best = NextFrom(r, shared.last + 1, thread);
      shared.best[thread] = own.best;
    } else if (top_phase % kTopPhases == kFold) {
      constexpr int kSize = kThreads / kGroups;
      if (thread < kGroups) shared.group_best[thread] = First(&shared.best[thread * kSize], kSize);
    } else if (thread == 0) {
      shared.last = First(shared.group_best, kGroups);
      const uint32_t token = IdOfRankKey(shared.last);
      args.top[r * args.max_top + turn] = {token, RowOf(args.logits, r)[token]};
    }
  }
  // The first rank key of the thread's tokens that is at least `from`.
  LATENTD_HD uint64_t NextFrom(int64_t r, uint64_t from, int thread) const {
    const float* logits = RowOf(args.logits, r);
    uint64_t next = kNoRankKey;
    for (int64_t t = thread; t < Vocab(); t += kThreads) {
      const uint64_t key = RankKey(logits[t], t);
      if (key >= from && key < next) next = key;
    }
    return next;
  }
  LATENTD_HD static uint64_t First(const uint64_t* keys, int count) {
    uint64_t first = keys[0];
    for (int i = 1; i < count; ++i) first = keys[i] < first ? keys[i] : first;
    return first;
  }

  LATENTD_HD void Finish(int64_t r, const Shared& shared) const {
    SampledRow& result = args.sampled[r];
    double sum = 0;
    for (const double lane : shared.lanes) sum += lane;
    result.exp_sum = sum;
    result.max_logit = LogitOfKey(shared.first_key);
    result.logit = RowOf(args.logits, r)[result.token];
    result.rank = 1 + shared.num_before;
  }
};

}  // namespace latentd::cuda
