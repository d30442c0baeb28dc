// RouteExperts: a block for each row.
#pragma once

#include <cmath>

#include "kernels/cuda/body.h"
#include "kernels/cuda/operators.h"

namespace latentd::cuda {

// Whether candidate i goes before candidate j: the larger value, the lower index on a tie; a NaN
// loses to all numbers. A strict order, so the k best are those with fewer than k before them: what
// the CPU finds by k searches, every thread finds for its own experts by counting.
LATENTD_HD inline bool GoesBefore(float a, int i, float b, int j) {
  const bool a_is_nan = a != a, b_is_nan = b != b;
  if (a_is_nan != b_is_nan) return b_is_nan;
  return a > b || (!(b > a) && i < j);
}

struct RouterBody {
  static constexpr int kThreads = 128;
  struct Shared {
    float scores[kMaxExperts];
    float choice[kMaxExperts];  // score + bias, by which experts are chosen
    float groups[kMaxExperts];
    bool competes[kMaxExperts];  // the expert's group is among the best
    bool chosen[kMaxExperts];
    float largest;  // logit
    float sum;      // of exponentials, then of the chosen scores
  };
  struct Thread {};

  RouterConfig config;
  MatrixView<const float> logits;
  const float* bias;
  MatrixView<int32_t> experts;
  MatrixView<float> weights;

  int64_t NumBlocks() const { return logits.rows; }
  LATENTD_HD int NumPhases() const { return 10; }
  LATENTD_HD void Run(int phase, int64_t row, int thread, Thread&, Shared& shared) const {
    const bool by_group = phase == 4 || phase == 5;
    const bool by_one = phase == 0 || phase == 2 || phase == 8;
    int count = NumExperts();
    if (by_group) count = static_cast<int>(config.num_groups);
    if (phase == 9) count = static_cast<int>(config.top_k);
    if (by_one) count = 1;
    for (int i = thread; i < count; i += kThreads) RunItem(phase, row, i, shared);
  }

 private:
  LATENTD_HD int NumExperts() const { return static_cast<int>(config.num_experts); }
  LATENTD_HD int GroupSize() const {
    return static_cast<int>(config.num_experts / config.num_groups);
  }
  LATENTD_HD void RunItem(int phase, int64_t row, int i, Shared& shared) const {
    switch (phase) {
      case 0:
        return FindLargest(RowOf(logits, row), shared);
      case 1:
        return Score(RowOf(logits, row)[i], i, shared);
      case 2:
        return SumExponentials(shared);
      case 3:
        return SetChoice(i, shared);
      case 4:
        return ScoreGroup(i, shared);
      case 5:
        return LetCompete(i, shared);
      case 6:
        return Choose(i, shared);
      case 7:
        return List(row, i, shared);
      case 8:
        return SumChosen(row, shared);
      default:
        return Weigh(row, i, shared);
    }
  }

  LATENTD_HD void FindLargest(const float* row, Shared& shared) const {
    float largest = row[0];
    for (int e = 1; e < NumExperts(); ++e) {
      if (largest < row[e]) largest = row[e];
    }
    shared.largest = largest;
  }
  LATENTD_HD void Score(float logit, int e, Shared& shared) const {
    shared.scores[e] = config.score == RouterScore::kSigmoid ? 1 / (1 + expf(-logit))
                                                             : expf(logit - shared.largest);
  }
  LATENTD_HD void SumExponentials(Shared& shared) const {
    float sum = 0;
    for (int e = 0; e < NumExperts(); ++e) sum += shared.scores[e];
    shared.sum = sum;
  }
  LATENTD_HD void SetChoice(int e, Shared& shared) const {
    if (config.score == RouterScore::kSoftmax) shared.scores[e] /= shared.sum;
    shared.choice[e] = bias != nullptr ? shared.scores[e] + bias[e] : shared.scores[e];
  }
  LATENTD_HD void ScoreGroup(int g, Shared& shared) const {
    float first = -INFINITY, second = -INFINITY;
    for (int e = g * GroupSize(); e < (g + 1) * GroupSize(); ++e) {
      const float value = shared.choice[e];
      if (value > first) {
        second = first;
        first = value;
      } else if (value > second) {
        second = value;
      }
    }
    const bool by_largest = config.group_score == GroupScore::kMax || GroupSize() == 1;
    shared.groups[g] = by_largest ? first : first + second;
  }
  LATENTD_HD void LetCompete(int g, Shared& shared) const {
    int before = 0;
    for (int i = 0; i < config.num_groups; ++i) {
      before += GoesBefore(shared.groups[i], i, shared.groups[g], g) ? 1 : 0;
    }
    for (int e = g * GroupSize(); e < (g + 1) * GroupSize(); ++e) {
      shared.competes[e] = before < config.top_groups;
    }
  }
  LATENTD_HD void Choose(int e, Shared& shared) const {
    int before = 0;
    for (int i = 0; i < NumExperts(); ++i) {
      const bool goes_before = GoesBefore(shared.choice[i], i, shared.choice[e], e);
      before += shared.competes[i] && goes_before ? 1 : 0;
    }
    shared.chosen[e] = shared.competes[e] && before < config.top_k;
  }
  // Ascending: a chosen expert's place is the number of chosen ones below it.
  LATENTD_HD void List(int64_t row, int e, Shared& shared) const {
    if (!shared.chosen[e]) return;
    int place = 0;
    for (int i = 0; i < e; ++i) place += shared.chosen[i] ? 1 : 0;
    RowOf(experts, row)[place] = e;
  }
  LATENTD_HD void SumChosen(int64_t row, Shared& shared) const {
    float sum = 0;
    for (int i = 0; i < config.top_k; ++i) sum += shared.scores[RowOf(experts, row)[i]];
    shared.sum = sum;
  }
  LATENTD_HD void Weigh(int64_t row, int i, const Shared& shared) const {
    const float score = shared.scores[RowOf(experts, row)[i]];
    RowOf(weights, row)[i] =
        (config.norm_top_k ? score / (shared.sum + 1e-20f) : score) * config.routed_scale;
  }
};

inline RouterBody MakeRouter(const RouterConfig& config, MatrixView<const float> logits,
                             const float* bias, MatrixView<int32_t> experts,
                             MatrixView<float> weights) {
  LATENTD_CHECK(config.num_experts >= 1 && config.num_experts <= kMaxExperts);
  LATENTD_CHECK(logits.cols == config.num_experts && experts.rows == logits.rows &&
                weights.rows == logits.rows);
  LATENTD_CHECK(experts.cols == config.top_k && weights.cols == config.top_k);
  LATENTD_CHECK(config.num_groups >= 1 && config.num_experts % config.num_groups == 0);
  LATENTD_CHECK(config.top_groups >= 1 && config.top_groups <= config.num_groups);
  LATENTD_CHECK(config.top_k >= 1 &&
                config.top_k <= config.num_experts / config.num_groups * config.top_groups);
  return {config, logits, bias, experts, weights};
}

}  // namespace latentd::cuda
