// Projections on every path: error within the bound of fp32 summation, and bits that depend on K
// alone.
#include "kernels/linear.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/core/thread_pool.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// A weight matrix with poisoned elements between its rows, and its values as double.
struct Weights {
  Weights(std::mt19937& rng, DType dtype, int64_t rows, int64_t cols, int64_t gap)
      : rows(rows), cols(cols), ld(cols + gap), dtype(dtype), bytes(rows * ld * SizeOf(dtype)) {
    const std::vector<float> random = RandomFloats(rng, rows * ld);
    values.resize(rows * cols);
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t k = 0; k < ld; ++k) {
        const double stored = Set(n * ld + k, k < cols ? random[n * ld + k] : kPoison);
        if (k < cols) values[n * cols + k] = stored;
      }
    }
  }
  // Stores a value and returns what it became. Halves: rounded down, any half will do.
  double Set(int64_t i, float value) {
    if (dtype == DType::kF32) {
      reinterpret_cast<float*>(bytes.data())[i] = value;
      return value;
    }
    auto* halves = reinterpret_cast<uint16_t*>(bytes.data());
    if (dtype == DType::kBF16) {
      halves[i] = ToBf16(value).bits;
      return ToFloat(bf16{halves[i]});
    }
    // sign, 5 bits of exponent (values lie in (−1, 1)), 10 bits of mantissa.
    int exponent = 0;
    const float fraction = std::isnan(value) ? 0 : std::frexp(std::fabs(value), &exponent);
    const int mantissa = static_cast<int>(fraction * 2048) & 1023;
    const bool normal = fraction > 0 && exponent > -14;
    halves[i] = static_cast<uint16_t>((std::signbit(value) ? 0x8000 : 0) |
                                      (normal ? (exponent + 14) << 10 | mantissa : 0));
    if (std::isnan(value)) halves[i] = 0x7e00;
    return ToFloat(f16{halves[i]});
  }
  WeightView View() const { return {bytes.data(), dtype, rows, cols, ld}; }

  int64_t rows, cols, ld;
  DType dtype;
  std::vector<std::byte> bytes;
  std::vector<double> values;  // [rows, cols]
};

double RoundedFor(DType dtype, float x) { return dtype == DType::kBF16 ? RoundToBf16(x) : x; }

// Expected values and bounds: K products and sums in any order err by at most K+1 roundings of
// Σ|x·w|. So does bfmmla, whose roundings are to odd and count twice: a product meets that of its
// pair and those that add its pair and the later ones to a sum, of which the first adds to zero, so
// that K/2 pairs come to K roundings, and an odd K, with a last pair of one, to K+1. Where two sums
// are added, each had half of the pairs. bf16 instructions may also flush what is below the
// smallest normal number: K products or their operands, K/2 pairs, K/2 sums.
struct Oracle {
  std::vector<double> y, bound;
  void Add(double sum, double magnitude, double bias, int64_t k) {
    y.push_back(sum + bias);
    bound.push_back((static_cast<double>(k) + 2) * kHalfUlp * (magnitude + std::fabs(bias)) +
                    2 * static_cast<double>(k) * 0x1p-126);
  }
};

std::string Describe(CpuPath path, DType dtype, int64_t m, int64_t n, int64_t k) {
  const char* const names[] = {"f32", "f16", "bf16"};
  return std::string(Name(path)) + " " + names[static_cast<int>(dtype)] + " M " +
         std::to_string(m) + " N " + std::to_string(n) + " K " + std::to_string(k);
}

struct Shape {
  int64_t m, n, k;
};

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

TEST_CASE("Linear is within the bound of fp32 summation on every path") {
  std::mt19937 rng(1);
  for (const Shape s : {Shape{1, 1, 1},
                        {3, 8, 32},
                        {2, 13, 37},
                        {5, 17, 241},
                        {1, 9, 2048},
                        {4, 6, 2049},
                        {7, 11, 4500},
                        {200, 3, 64},
                        {2, 3, 0}}) {
    for (const DType dtype : kDTypes) {
      const Weights w(rng, dtype, s.n, s.k, 3);
      std::vector<float> x = RandomFloats(rng, s.m * (s.k + 5));
      const std::vector<float> bias = RandomFloats(rng, s.n);
      for (int64_t m = 0; m < s.m; ++m) x[m * (s.k + 5) + s.k] = kPoison;
      Oracle oracle;
      for (int64_t m = 0; m < s.m; ++m) {
        for (int64_t n = 0; n < s.n; ++n) {
          double sum = 0, magnitude = 0;
          for (int64_t k = 0; k < s.k; ++k) {
            const double term = RoundedFor(dtype, x[m * (s.k + 5) + k]) * w.values[n * s.k + k];
            sum += term;
            magnitude += std::fabs(term);
          }
          oracle.Add(sum, magnitude, bias[n], s.k);
        }
      }
      for (const CpuPath path : RunnablePaths()) {
        std::vector<float> y(s.m * s.n, kPoison);
        Linear({path, nullptr}, {.x = {x.data(), s.m, s.k, s.k + 5},
                                 .w = w.View(),
                                 .y = View(y, s.m, s.n),
                                 .bias = bias.data()});
        RequireWithin(y, oracle.y, oracle.bound, Describe(path, dtype, s.m, s.n, s.k));
      }
    }
  }
}

TEST_CASE("LinearTransposed is within the bound of fp32 summation on every path") {
  std::mt19937 rng(2);
  for (const Shape s :
       {Shape{1, 1, 1}, {1, 512, 128}, {3, 64, 96}, {13, 300, 33}, {2, 37, 40}, {200, 70, 5}}) {
    for (const DType dtype : kDTypes) {
      const Weights w(rng, dtype, s.k, s.n, 3);
      const std::vector<float> x = RandomFloats(rng, s.m * s.k);
      Oracle oracle;
      for (int64_t m = 0; m < s.m; ++m) {
        for (int64_t n = 0; n < s.n; ++n) {
          double sum = 0, magnitude = 0;
          for (int64_t k = 0; k < s.k; ++k) {
            const double term = RoundedFor(dtype, x[m * s.k + k]) * w.values[k * s.n + n];
            sum += term;
            magnitude += std::fabs(term);
          }
          oracle.Add(sum, magnitude, 0, s.k);
        }
      }
      for (const CpuPath path : RunnablePaths()) {
        std::vector<float> y(s.m * s.n, kPoison);
        LinearTransposed({path, nullptr},
                         {.x = View(x, s.m, s.k), .w = w.View(), .y = View(y, s.m, s.n)});
        RequireWithin(y, oracle.y, oracle.bound, Describe(path, dtype, s.m, s.n, s.k));
      }
    }
  }
}

// Row m of a product of M rows, on one or two threads, has the bits that each of its outputs has
// alone.
void RequireRowsAsAlone(std::mt19937& rng, int64_t n, int64_t k, const std::vector<int64_t>& ms) {
  ThreadPool two(2);
  const int64_t max_m = ms.back();
  const std::vector<float> x = RandomFloats(rng, max_m * k);
  for (const DType dtype : kDTypes) {
    const Weights w(rng, dtype, n, k, 0);
    for (const CpuPath path : RunnablePaths()) {
      std::vector<float> alone(max_m * n);
      for (int64_t i = 0; i < max_m * n; ++i) {
        Linear({path, nullptr}, {.x = View(x, max_m, k).Rows(i / n, 1),
                                 .w = w.View().Rows(i % n, 1),
                                 .y = {&alone[i], 1, 1, 1}});
      }
      for (const int64_t m : ms) {
        for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &two}) {
          if (pool != nullptr && m < 60 && m % 9 != 0) continue;
          std::vector<float> y(m * n);
          Linear({path, pool},
                 {.x = View(x, max_m, k).Rows(0, m), .w = w.View(), .y = View(y, m, n)});
          RequireSameBits(y, std::span(alone).first(m * n), Describe(path, dtype, m, n, k));
        }
      }
    }
  }
}

TEST_CASE("an output's bits depend on K and the path alone") {
  std::mt19937 rng(3);
  std::vector<int64_t> every(70);
  std::iota(every.begin(), every.end(), 1);
  RequireRowsAsAlone(rng, 43, 96, every);
  RequireRowsAsAlone(rng, 11, 2100, {1, 2, 3, 5, 8});    // two blocks of K
  RequireRowsAsAlone(rng, 9, 33, {191, 192, 193, 400});  // blocks of tokens
  RequireRowsAsAlone(rng, 2100, 64, {1, 4});             // many chunks of weight rows
}

TEST_CASE("a transposed output's bits depend on K and the path alone") {
  constexpr int64_t kMaxM = 70;
  const int64_t n = 300;
  const int64_t k = 24;
  std::mt19937 rng(4);
  ThreadPool two(2);
  const std::vector<float> x = RandomFloats(rng, kMaxM * k);
  for (const DType dtype : kDTypes) {
    const Weights w(rng, dtype, k, n, 0);
    for (const CpuPath path : RunnablePaths()) {
      std::vector<float> alone(kMaxM * n);
      for (int64_t m = 0; m < kMaxM; ++m) {
        LinearTransposed(
            {path, nullptr},
            {.x = {x.data() + m * k, 1, k, k}, .w = w.View(), .y = {&alone[m * n], 1, n, n}});
      }
      for (int64_t m = 1; m <= kMaxM; ++m) {
        std::vector<float> y(m * n);
        LinearTransposed({path, m % 9 == 0 ? &two : nullptr},
                         {.x = View(x, kMaxM, k).Rows(0, m), .w = w.View(), .y = View(y, m, n)});
        RequireSameBits(y, std::span(alone).first(m * n), Describe(path, dtype, m, n, k));
      }
      // A width that ends inside a vector.
      const int64_t narrow = 77;
      std::vector<float> y(kMaxM * narrow), expected(kMaxM * narrow);
      for (int64_t m = 0; m < kMaxM; ++m) {
        std::copy_n(&alone[m * n], narrow, &expected[m * narrow]);
      }
      LinearTransposed(
          {path, nullptr},
          {.x = View(x, kMaxM, k), .w = w.View().Leading(narrow), .y = View(y, kMaxM, narrow)});
      RequireSameBits(y, expected, Describe(path, dtype, kMaxM, narrow, k));
    }
  }
}

// Heads: x and y interleaved in one row, consecutive heads sharing a weight.
TEST_CASE("a batch computes its items as they are alone") {
  const int64_t heads = 6, share = 3, tokens = 5, k = 40, n = 21;
  std::mt19937 rng(5);
  ThreadPool two(2);
  const std::vector<float> x = RandomFloats(rng, tokens * heads * k);
  for (const DType dtype : kDTypes) {
    const Weights w(rng, dtype, heads / share * n, k, 2);
    const Weights wt(rng, dtype, heads / share * k, n, 2);
    for (const CpuPath path : RunnablePaths()) {
      std::vector<float> y(tokens * heads * n), expected(y.size());
      std::vector<float> yt(y.size()), expected_t(y.size());
      const MatrixView<const float> x_view = View(x, tokens, heads * k);
      for (int64_t h = 0; h < heads; ++h) {
        Linear({path, nullptr}, {.x = x_view.Cols(h * k, k),
                                 .w = w.View().Rows(h / share * n, n),
                                 .y = View(expected, tokens, heads * n).Cols(h * n, n)});
        LinearTransposed({path, nullptr},
                         {.x = x_view.Cols(h * k, k),
                          .w = wt.View().Rows(h / share * k, k),
                          .y = View(expected_t, tokens, heads * n).Cols(h * n, n)});
      }
      Linear({path, &two}, {.x = x_view.Cols(0, k),
                            .w = w.View().Rows(0, n),
                            .y = View(y, tokens, heads * n).Cols(0, n),
                            .batch = heads,
                            .x_batch_stride = k,
                            .y_batch_stride = n,
                            .w_batch_stride = n * w.ld,
                            .w_batch_share = share});
      LinearTransposed({path, &two}, {.x = x_view.Cols(0, k),
                                      .w = wt.View().Rows(0, k),
                                      .y = View(yt, tokens, heads * n).Cols(0, n),
                                      .batch = heads,
                                      .x_batch_stride = k,
                                      .y_batch_stride = n,
                                      .w_batch_stride = k * wt.ld,
                                      .w_batch_share = share});
      RequireSameBits(y, expected, Describe(path, dtype, tokens, n, k));
      RequireSameBits(yt, expected_t, Describe(path, dtype, tokens, n, k));
    }
  }
}

}  // namespace
}  // namespace latentd
