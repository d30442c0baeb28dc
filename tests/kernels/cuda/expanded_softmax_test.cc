// The softmax of a span's scores and its merge with those before, emulated or on a device, against
// plain statements. Bits are exact but for the exponential.
#include "kernels/cuda/expanded_parts.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr bf16 kUntouched{0xffff};

size_t At(int64_t i) { return static_cast<size_t>(i); }

struct Softmax {
  int64_t heads, queries, rows, keys, padded, visible;
  bool is_first;
  // What a row sees.
  int64_t Seen(int64_t t) const { return t < rows ? std::clamp<int64_t>(visible + t, 0, keys) : 0; }
};

// Scores and what rows had before the span; NaN where no row may look.
struct SoftmaxProblem {
  SoftmaxProblem(std::mt19937& rng, const Softmax& softmax)
      : s(softmax),
        ld(s.padded + 8),
        state_ld(s.heads + 2),
        scores(RandomFloats(rng, s.heads * s.queries * ld, 80)),
        largest(RandomFloats(rng, s.queries * state_ld, 20)),
        sums(RandomFloats(rng, s.queries * state_ld)) {
    for (size_t i = 0; i < scores.size(); ++i) {
      const auto place = static_cast<int64_t>(i);
      if (place % ld >= s.Seen(place / ld % s.queries)) scores[i] = kPoison;
    }
    for (int64_t i = 0; i < s.queries * state_ld; ++i) {
      sums[At(i)] = 1 + std::fabs(sums[At(i)]);
      if (s.is_first || !IsState(i)) sums[At(i)] = largest[At(i)] = kPoison;
    }
  }
  bool IsState(int64_t i) const { return i / state_ld < s.rows && i % state_ld < s.heads; }

  const Softmax s;
  const int64_t ld, state_ld;
  const float scale = 0.25f;
  std::vector<float> scores;         // [heads][queries][ld]
  std::vector<float> largest, sums;  // [queries][state_ld]
};

struct Weighed {
  std::vector<bf16> weights;
  std::vector<float> largest, sums, kept;
};

Weighed Run(const SoftmaxProblem& p) {
  const Softmax& s = p.s;
  const Array scores(p.scores), largest(p.largest), sums(p.sums);
  const Array weights(std::vector<bf16>(p.scores.size(), kUntouched));
  const Array kept(std::vector<float>(At(s.heads * s.queries), kPoison));
  WeighSpan(nullptr, {.scores = scores.data(),
                      .weights = weights.data(),
                      .ld = p.ld,
                      .num_heads = s.heads,
                      .num_queries = s.queries,
                      .num_rows = s.rows,
                      .num_keys = s.keys,
                      .padded_keys = s.padded,
                      .visible = s.visible,
                      .softmax_scale = p.scale,
                      .is_first = s.is_first,
                      .largest = largest.data(),
                      .sums = sums.data(),
                      .state_ld = p.state_ld,
                      .kept = kept.data()});
  return {weights.Read(), largest.Read(), sums.Read(), kept.Read()};
}

// The exponential is 2 units in the last place off (2^-22) and its argument two roundings of it,
// at most 2^-23 · 80 here; a weight has a rounding to bf16 besides.
constexpr double kExp = 0x1p-22 + 80 * 0x1p-23;

// Row t of a head, whose scores begin at `place`; the sum of its weights as they were written.
double CheckWeights(const SoftmaxProblem& p, const Weighed& got, int64_t place, int64_t t,
                    double largest) {
  double sum = 0;
  for (int64_t k = 0; k < p.ld; ++k) {
    const bf16 weight = got.weights[At(place + k)];
    INFO("key " << k);
    if (k >= p.s.padded) {
      REQUIRE(weight == kUntouched);
    } else if (k >= p.s.Seen(t)) {
      REQUIRE(weight == bf16{0});
    } else {
      const auto value = static_cast<double>(ToFloat(weight));
      const double exact =
          std::exp(static_cast<double>(p.scale * p.scores[At(place + k)]) - largest);
      REQUIRE(std::abs(value - exact) <= exact * (kHalfUlpBf16 + 2 * kExp) + 0x1p-126);
      sum += value;
    }
  }
  return sum;
}

void CheckRow(const SoftmaxProblem& p, const Weighed& got, int64_t head, int64_t t) {
  const int64_t row = head * p.s.queries + t, place = row * p.ld, state = t * p.state_ld + head;
  const double before = p.s.is_first ? -HUGE_VAL : static_cast<double>(p.largest[At(state)]);
  double largest = before;
  for (int64_t k = 0; k < p.s.Seen(t); ++k) {
    largest = std::max(largest, static_cast<double>(p.scale * p.scores[At(place + k)]));
  }
  double sum = CheckWeights(p, got, place, t, largest);
  if (t >= p.s.rows) {
    REQUIRE(std::isnan(got.kept[At(row)]));
    return;
  }
  const double kept = p.s.is_first ? 0 : std::exp(before - largest);
  if (!p.s.is_first) sum += kept * static_cast<double>(p.sums[At(state)]);
  REQUIRE(static_cast<double>(got.largest[At(state)]) == largest);
  REQUIRE(std::abs(static_cast<double>(got.kept[At(row)]) - kept) <= kept * kExp + 0x1p-126);
  // Roundings of a sum: one for each weight of a lane, five folds, two in the merge.
  const double roundings = (static_cast<double>(p.s.keys) / 32 + 8) * kHalfUlp;
  REQUIRE(std::abs(static_cast<double>(got.sums[At(state)]) - sum) <= sum * (roundings + kExp));
}

void CheckSoftmax(const Softmax& s, uint32_t seed) {
  CAPTURE(s.heads, s.queries, s.rows, s.keys, s.padded, s.visible, s.is_first);
  std::mt19937 rng(seed);
  const SoftmaxProblem problem(rng, s);
  const Weighed got = Run(problem);
  for (int64_t head = 0; head < s.heads; ++head) {
    for (int64_t t = 0; t < s.queries; ++t) {
      INFO("head " << head << " row " << t);
      CheckRow(problem, got, head, t);
    }
  }
  for (int64_t i = 0; i < s.queries * problem.state_ld; ++i) {  // no state but the rows'
    if (problem.IsState(i)) continue;
    REQUIRE(std::isnan(got.sums[At(i)]));
    REQUIRE(std::isnan(got.largest[At(i)]));
  }
}

TEST_CASE("WeighSpan masks, weighs and merges each row's softmax", "[small]") {
  uint32_t seed = 10;
  for (const bool is_first : {true, false}) {
    CheckSoftmax({3, 64, 64, 100, 128, 1, is_first}, seed++);    // the diagonal
    CheckSoftmax({2, 64, 41, 512, 512, 600, is_first}, seed++);  // all of it, and padding
    CheckSoftmax({1, 64, 3, 5, 64, 3, is_first}, seed++);
  }
  CheckSoftmax({2, 64, 60, 40, 64, -20, false}, seed++);  // rows that see nothing
}

// Two rows, one of which sees a second token.
TEST_CASE("WeighSpan: a token alone weighs 1, a NaN stays one", "[small]") {
  std::mt19937 rng(4);
  SoftmaxProblem problem(rng, {1, 2, 2, 2, 2, 1, true});
  const auto set = [&](int64_t row, float first, float second) {
    problem.scores[At(row * problem.ld)] = first;
    problem.scores[At(row * problem.ld + 1)] = second;
  };
  set(0, 1, kPoison);
  set(1, -400, 28);
  const Weighed good = Run(problem);
  CHECK(ToFloat(good.weights[0]) == 1);
  CHECK(good.weights[1] == bf16{0});
  CHECK(ToFloat(good.weights[At(problem.ld)]) == 0);
  CHECK(ToFloat(good.weights[At(problem.ld + 1)]) == 1);
  set(1, 1, kPoison);
  const Weighed bad = Run(problem);
  CHECK(bad.sums[0] == 1);
  CHECK(std::isnan(bad.sums[At(problem.state_ld)]));
}

TEST_CASE("MergeSpan adds products to what is kept, and divides at the end", "[small]") {
  std::mt19937 rng(3);
  const int64_t heads = 3, queries = 64, rows = 37, d_v = 10, ld = 12, out_ld = 40, state_ld = 5;
  const std::vector<float> products = RandomFloats(rng, heads * queries * ld);
  const std::vector<float> kept = RandomFloats(rng, heads * queries);
  const std::vector<float> before = RandomFloats(rng, rows * out_ld);
  std::vector<float> sums = RandomFloats(rng, rows * state_ld);
  for (float& sum : sums) sum = 1 + std::fabs(sum);
  const Array device_products(products), device_kept(kept), device_sums(sums);
  for (const bool is_first : {true, false}) {
    for (const bool is_last : {true, false}) {
      CAPTURE(is_first, is_last);
      const Array out(is_first ? std::vector<float>(before.size(), kPoison) : before);
      MergeSpan(nullptr, {.products = device_products.data(),
                          .products_ld = ld,
                          .num_heads = heads,
                          .num_queries = queries,
                          .value_dim = d_v,
                          .kept = device_kept.data(),
                          .sums = device_sums.data(),
                          .state_ld = state_ld,
                          .is_first = is_first,
                          .is_last = is_last,
                          .out = {out.data(), rows, heads * d_v, out_ld}});
      const std::vector<float> got = out.Read();
      for (int64_t i = 0; i < rows * out_ld; ++i) {
        const int64_t t = i / out_ld, head = i % out_ld / d_v, j = i % out_ld % d_v;
        INFO("row " << t << " lane " << i % out_ld);
        if (i % out_ld >= heads * d_v) {
          REQUIRE((is_first ? std::isnan(got[At(i)]) : got[At(i)] == before[At(i)]));
          continue;
        }
        float expected = products[At((head * queries + t) * ld + j)];
        if (!is_first) expected = before[At(i)] * kept[At(head * queries + t)] + expected;
        if (is_last) expected /= sums[At(t * state_ld + head)];
        REQUIRE(got[At(i)] == expected);
      }
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
