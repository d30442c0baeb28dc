// int8 weights: what they are worth, and products on every path.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/core/thread_pool.h"
#include "kernels/cpu/linear_int8.h"
#include "kernels/cpu/table.h"
#include "kernels/dequantise.h"
#include "kernels/linear.h"
#include "kernels/quantise.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Half a step of a group whose largest magnitude is `largest`, and the roundings of 127 / largest,
// of a product with it and of largest / 127: each 2^−24 of at most 127 steps, 2^−14 of a half step
// together. Groups below 2^−100 become zeros.
double HalfStep(double largest) { return largest / 254 * (1 + 0x1p-14) + 0x1p-100; }

// A matrix quantised from fp32 values, at an address that is aligned to nothing.
struct Int8Matrix {
  Int8Matrix(std::vector<float> from, int64_t rows, int64_t cols)
      : values(std::move(from)),
        bytes(1 + Int8Bytes(rows, cols)),
        view(QuantiseToInt8({values.data(), DType::kF32, rows, cols, cols}, bytes.data() + 1)) {}
  Int8Matrix(std::mt19937& rng, int64_t rows, int64_t cols)
      : Int8Matrix(RandomFloats(rng, rows * cols, 3), rows, cols) {}
  Int8Matrix(const Int8Matrix&) = delete;

  std::vector<float> values;
  std::vector<std::byte> bytes;
  WeightView view;
};

std::string Describe(CpuPath path, const WeightView& w, int64_t m) {
  return std::string(Name(path)) + " M " + std::to_string(m) + " N " + std::to_string(w.rows) +
         " K " + std::to_string(w.cols) + " first row " + std::to_string(w.scales.first_row);
}

// Rows of x as the products see them, and the largest magnitude of every group.
struct QuantisedRows {
  QuantisedRows(const std::vector<float>& x, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = 0; k < cols; k += kInt8Group) {
        const int64_t count = std::min(kInt8Group, cols - k);
        int8_t q[kInt8Group];
        const float scale = QuantiseGroup(&x[i * cols + k], count, q);
        double largest = 0;
        for (int64_t j = 0; j < count; ++j) {
          values.push_back(static_cast<double>(scale) * q[j]);
          largest = std::max(largest, std::fabs(static_cast<double>(x[i * cols + k + j])));
        }
        half_steps.insert(half_steps.end(), count, HalfStep(largest));
      }
    }
  }
  std::vector<double> values, half_steps;  // [rows, cols]
};

TEST_CASE("a quantised value is off by half a step at most") {
  std::mt19937 rng(1);
  for (const int64_t count : {1, 2, 7, 100, 127, 128}) {
    for (const float magnitude : {1e-36f, 1e-30f, 1e-3f, 1.0f, 1e38f}) {
      const std::vector<float> x = RandomFloats(rng, count, magnitude);
      int8_t q[kInt8Group];
      const double scale = QuantiseGroup(x.data(), count, q);
      double largest = 0;
      for (const float value : x) largest = std::max(largest, std::fabs(double{value}));
      for (int64_t i = 0; i < kInt8Group; ++i) {
        INFO("of " << count << " below " << magnitude << ", value " << i);
        REQUIRE(std::abs(q[i]) <= (i < count ? 127 : 0));
        if (i < count) REQUIRE(std::fabs(q[i] * scale - x[i]) <= HalfStep(largest));
      }
    }
  }
}

TEST_CASE("ties go to the even number, and the largest magnitude is 127 steps") {
  const std::vector<float> x = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 127, -127, 0, -0.0f};
  int8_t q[kInt8Group];
  CHECK(QuantiseGroup(x.data(), std::ssize(x), q) == 1);
  CHECK(std::vector<int>(q, q + x.size()) == std::vector<int>{0, 2, 2, 0, -2, -2, 127, -127, 0, 0});
}

TEST_CASE("what is no number does not become one, and nearly nothing becomes nothing") {
  int8_t q[kInt8Group];
  for (const float odd : {kNaN, -kNaN, kInfinity, -kInfinity}) {
    const std::vector<float> x = {1, odd, 3};
    CHECK(std::isnan(QuantiseGroup(x.data(), 3, q)));
    CHECK(q[0] == 0);
  }
  const std::vector<float> tiny = {0x1p-101f, -0x1p-149f, 0};
  CHECK(QuantiseGroup(tiny.data(), 3, q) == 0);
  CHECK(q[0] == 0);
}

TEST_CASE("a row is worth its values within half a step, whatever it was stored as") {
  std::mt19937 rng(2);
  for (const int64_t cols : {1, 100, 128, 241}) {
    const Int8Matrix w(rng, 19, cols);
    const QuantisedRows expected(w.values, 19, cols);
    std::vector<bf16> halves(w.values.size());
    std::transform(w.values.begin(), w.values.end(), halves.begin(), ToBf16);
    std::vector<std::byte> other(Int8Bytes(19, cols));
    const WeightView from_bf16 =
        QuantiseToInt8({halves.data(), DType::kBF16, 19, cols, cols}, other.data());
    std::vector<float> row(cols);
    for (int64_t n = 0; n < 19; ++n) {
      DequantiseRow(w.view, n, row.data());
      for (int64_t k = 0; k < cols; ++k) {
        INFO("row " << n << " of " << cols << ", column " << k);
        REQUIRE(row[k] == static_cast<float>(expected.values[n * cols + k]));
        REQUIRE(std::fabs(double{row[k]} - w.values[n * cols + k]) <=
                expected.half_steps[n * cols + k] + kHalfUlp * std::fabs(row[k]));
      }
      DequantiseRow(from_bf16, n, row.data());
      std::vector<float> rounded(cols);
      for (int64_t k = 0; k < cols; ++k) rounded[k] = ToFloat(halves[n * cols + k]);
      const QuantisedRows alone(rounded, 1, cols);
      for (int64_t k = 0; k < cols; ++k) REQUIRE(row[k] == static_cast<float>(alone.values[k]));
    }
  }
}

// Against the product of the values themselves: half a step of either factor, and two roundings a
// group and one of the bias. And against the product of what they became: the roundings alone.
void RequireExact(std::mt19937& rng, const Int8Matrix& w, int64_t m) {
  const int64_t n = w.view.rows, k = w.view.cols;
  const std::vector<float> x = RandomFloats(rng, m * k), bias = RandomFloats(rng, n);
  const QuantisedRows xq(x, m, k), wq(w.values, n, k);
  std::vector<double> exact, exact_bound, rounded, rounded_bound;
  for (int64_t i = 0; i < m * n; ++i) {
    double sum = bias[i % n], error = 0, sum_q = bias[i % n], magnitude = std::fabs(bias[i % n]);
    for (int64_t j = 0; j < k; ++j) {
      const int64_t a = i / n * k + j, b = i % n * k + j;
      sum += double{x[a]} * w.values[b];
      sum_q += xq.values[a] * wq.values[b];
      magnitude += std::fabs(xq.values[a] * wq.values[b]);
      error += xq.half_steps[a] * (std::fabs(w.values[b]) + wq.half_steps[b]) +
               std::fabs(x[a]) * wq.half_steps[b];
    }
    const double roundings = 2.0 * static_cast<double>(Int8Groups(k)) + 2;
    exact.push_back(sum);
    rounded.push_back(sum_q);
    rounded_bound.push_back(roundings * kHalfUlp * magnitude);
    exact_bound.push_back(error + rounded_bound.back());
  }
  std::vector<float> scalar(m * n, kNaN);
  for (const CpuPath path : RunnablePaths()) {
    std::vector<float> y(m * n, kNaN);
    Linear({path, nullptr},
           {.x = View(x, m, k), .w = w.view, .y = View(y, m, n), .bias = bias.data()});
    RequireWithin(y, exact, exact_bound, Describe(path, w.view, m));
    RequireWithin(y, rounded, rounded_bound, "quantised, " + Describe(path, w.view, m));
    if (path == CpuPath::kScalar) scalar = y;
    RequireSameBits(y, scalar, "as scalar, " + Describe(path, w.view, m));
  }
}

TEST_CASE("int8 products are within the bound, and the same on every path") {
  std::mt19937 rng(3);
  struct Shape {
    int64_t m, n, k;
  };
  for (const Shape s : {Shape{1, 1, 1},
                        {3, 8, 100},
                        {5, 17, 241},
                        {1, 64, 2048},
                        {2, 80, 4500},
                        {7, 95, 128},
                        {13, 130, 129},
                        {200, 3, 64}}) {
    RequireExact(rng, Int8Matrix(rng, s.n, s.k), s.m);
  }
}

// Whole numbers with a 127 in every group have the scale 1, and sums below 2^24 are exact: the
// extremes, where a product of 16 bits or a lost correction would show.
TEST_CASE("products of whole numbers are exact, at the ends of their range too") {
  std::mt19937 rng(4);
  std::uniform_int_distribution<int> any(-127, 127);
  for (const int64_t k : {100, 128, 241, 896}) {
    std::vector<float> w(40 * k), x(9 * k);
    const auto fill = [&](std::vector<float>& values) {
      for (int64_t i = 0; i < std::ssize(values); ++i) {
        const int64_t row = i / k;
        values[i] = static_cast<float>(row % 3 == 0 || i % k % kInt8Group == 0 ? 127
                                       : row % 3 == 1                          ? -127
                                                                               : any(rng));
      }
    };
    fill(w);
    fill(x);
    std::vector<float> expected(9 * 40);
    for (int64_t i = 0; i < 9 * 40; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j) sum += double{x[i / 40 * k + j]} * w[i % 40 * k + j];
      REQUIRE(std::fabs(sum) < 0x1p24);
      expected[i] = static_cast<float>(sum);
    }
    const Int8Matrix matrix(w, 40, k);
    for (const CpuPath path : RunnablePaths()) {
      std::vector<float> y(9 * 40, kNaN);
      Linear({path, nullptr}, {.x = View(x, 9, k), .w = matrix.view, .y = View(y, 9, 40)});
      RequireSameBits(y, expected, Describe(path, matrix.view, 9));
    }
  }
}

// Row m of a product of M rows, on one or two threads, has the bits that each of its outputs has
// alone with the scalar kernel.
void RequireRowsAsAlone(std::mt19937& rng, int64_t n, int64_t k, const std::vector<int64_t>& ms) {
  ThreadPool two(2);
  const Int8Matrix w(rng, n, k);
  const int64_t max_m = ms.back();
  const std::vector<float> x = RandomFloats(rng, max_m * k);
  std::vector<float> alone(max_m * n);
  for (int64_t i = 0; i < max_m * n; ++i) {
    Linear({CpuPath::kScalar, nullptr}, {.x = View(x, max_m, k).Rows(i / n, 1),
                                         .w = w.view.Rows(i % n, 1),
                                         .y = {&alone[i], 1, 1, 1}});
  }
  for (const CpuPath path : RunnablePaths()) {
    for (const int64_t m : ms) {
      for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &two}) {
        std::vector<float> y(m * n, kNaN);
        Linear({path, pool}, {.x = View(x, max_m, k).Rows(0, m), .w = w.view, .y = View(y, m, n)});
        RequireSameBits(y, std::span(alone).first(m * n), Describe(path, w.view, m));
      }
    }
  }
}

TEST_CASE("an int8 output's bits depend on its row and its token alone") {
  std::mt19937 rng(5);
  std::vector<int64_t> every(70);
  std::iota(every.begin(), every.end(), 1);
  RequireRowsAsAlone(rng, 83, 241, every);
  RequireRowsAsAlone(rng, 9, 33, {191, 192, 193, 400});  // blocks of tokens
  RequireRowsAsAlone(rng, 1300, 300, {1, 4});            // many chunks of weight rows
  RequireRowsAsAlone(rng, 130, 4500, {1, 2, 7});         // a tile of rows longer than a chunk
}

// Rows from inside a block on, and leading columns that end inside a group.
TEST_CASE("slices of an int8 matrix: the rows of the whole, the columns of what is left") {
  std::mt19937 rng(6);
  const auto up_to = [&rng](int64_t max) {
    return std::uniform_int_distribution<int64_t>(1, max)(rng);
  };
  for (int round = 0; round < 60; ++round) {
    const Int8Matrix w(rng, up_to(200), up_to(700));
    const int64_t first = up_to(w.view.rows) - 1, count = up_to(w.view.rows - first);
    const int64_t width = up_to(w.view.cols), m = up_to(20);
    const WeightView slice = w.view.Rows(first, count).Leading(width);
    const std::vector<float> x = RandomFloats(rng, m * width);
    const QuantisedRows xq(x, m, width);
    std::vector<double> expected, bound;
    for (int64_t i = 0; i < m * count; ++i) {
      const int64_t row = first + i % count;
      const QuantisedRows wq(
          {w.values.begin() + row * w.view.cols, w.values.begin() + (row + 1) * w.view.cols}, 1,
          w.view.cols);
      double sum = 0, magnitude = 0;
      for (int64_t j = 0; j < width; ++j) {
        const double term = xq.values[i / count * width + j] * wq.values[j];
        sum += term;
        magnitude += std::fabs(term);
      }
      expected.push_back(sum);
      bound.push_back((2.0 * static_cast<double>(Int8Groups(width)) + 2) * kHalfUlp * magnitude);
    }
    std::vector<float> scalar;
    for (const CpuPath path : RunnablePaths()) {
      std::vector<float> y(m * (count + 2), 7);
      Linear({path, nullptr},
             {.x = View(x, m, width), .w = slice, .y = {y.data() + 1, m, count, count + 2}});
      std::vector<float> inside;
      for (int64_t i = 0; i < m; ++i) {  // and nothing else is touched
        const float* row = &y[i * (count + 2)];
        REQUIRE((row[0] == 7 && row[count + 1] == 7));
        inside.insert(inside.end(), row + 1, row + 1 + count);
      }
      RequireWithin(inside, expected, bound, Describe(path, slice, m));
      if (path == CpuPath::kScalar) scalar = inside;
      RequireSameBits(inside, scalar, Describe(path, slice, m));
    }
  }
}

TEST_CASE("a NaN reaches its token's outputs or its weight's, and no others") {
  std::mt19937 rng(7);
  std::vector<float> values = RandomFloats(rng, 20 * 300);
  values[3 * 300 + 200] = kInfinity;
  const Int8Matrix w(values, 20, 300);
  std::vector<float> x = RandomFloats(rng, 8 * 300);
  x[2 * 300 + 5] = kNaN;
  for (const CpuPath path : RunnablePaths()) {
    std::vector<float> y(8 * 20);
    Linear({path, nullptr}, {.x = View(x, 8, 300), .w = w.view, .y = View(y, 8, 20)});
    for (int64_t i = 0; i < 8 * 20; ++i) {
      INFO(Name(path) << " token " << i / 20 << " row " << i % 20);
      REQUIRE(std::isnan(y[i]) == (i / 20 == 2 || i % 20 == 3));
    }
  }
}

#if defined(__x86_64__)
// A CPU with VNNI takes it on both AVX-512 paths; the kernel without it must be tested there too,
// as it is on the avx2 path above.
TEST_CASE("both AVX-512 paths take VNNI where the CPU has it") {
  const CpuKernels* kernels = Supported(CpuPath::kAvx512) ? KernelsOf(CpuPath::kAvx512) : nullptr;
  if (kernels == nullptr || !__builtin_cpu_supports("avx512vnni")) return;
  CHECK(kernels->int8.run == Avx512VnniInt8().run);
  CHECK(KernelsOf(CpuPath::kAvx2)->int8.run == Avx2Int8().run);
}
#endif

}  // namespace
}  // namespace latentd
