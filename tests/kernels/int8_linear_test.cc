// Weights in blocks, int8 and int4: what they are worth, and products on every path.
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

// What x may be off by as an int4 weight: half a step, or what it lies beyond −8 or 7 of them. The
// roundings of 1 / scale and of the product with it are 2^−24 of at most 10 steps each, below 2^−19
// of a half step together; beyond that a number may be one off where two are as near.
double Int4Off(double x, double scale) {
  const double step = std::fabs(scale), end = x * scale < 0 ? 8 : 7;
  return std::max(step / 2 * (1 + 0x1p-19), std::fabs(x) - end * step) + 0x1p-100;
}

// A matrix quantised from fp32 values, at an address that is aligned to nothing.
struct BlockMatrix {
  BlockMatrix(const BlockFormat& format, std::vector<float> from, int64_t rows, int64_t cols)
      : values(std::move(from)),
        bytes(1 + format.Bytes(rows, cols)),
        view(Quantise(nullptr, format, {values.data(), DType::kF32, rows, cols, cols},
                      bytes.data() + 1)) {}
  BlockMatrix(const BlockFormat& format, std::mt19937& rng, int64_t rows, int64_t cols)
      : BlockMatrix(format, RandomFloats(rng, rows * cols, 3), rows, cols) {}
  BlockMatrix(const BlockMatrix&) = delete;

  // What an element became, and what it may be off by.
  double Worth(int64_t row, int64_t k) const {
    const BlockFormat& format = FormatOf(view.dtype);
    const std::byte* block = BlockOf(view, row, k / format.group);
    return static_cast<double>(BlockScale(format, block, row % kBlockRows)) *
           BlockNumber(format, block, row % kBlockRows, k % format.group);
  }
  double Off(int64_t row, int64_t k) const {
    const BlockFormat& format = FormatOf(view.dtype);
    const int64_t group = format.group, first = k / group * group;
    const float* from = &values[row * view.cols];
    if (view.dtype == DType::kInt4Blocks) {
      const std::byte* block = BlockOf(view, row, k / group);
      return Int4Off(from[k], BlockScale(format, block, row % kBlockRows));
    }
    double m = 0;
    for (int64_t i = first; i < std::min(first + group, view.cols); ++i) {
      if (std::fabs(from[i]) > std::fabs(m)) m = from[i];
    }
    return HalfStep(std::fabs(m));
  }

  std::vector<float> values;
  std::vector<std::byte> bytes;
  WeightView view;
};

const BlockFormat* const kFormats[] = {&kInt8Format, &kInt4Format};

std::string Describe(CpuPath path, const WeightView& w, int64_t m) {
  return std::string(Name(path)) + " int" + std::to_string(BitsOf(w.dtype)) + " M " +
         std::to_string(m) + " N " + std::to_string(w.rows) + " K " + std::to_string(w.cols) +
         " first row " + std::to_string(w.scales.first_row);
}

// Tokens as the products see them, and what each value may be off by.
struct QuantisedRows {
  QuantisedRows(int64_t group, const std::vector<float>& x, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = 0; k < cols; k += group) {
        const int64_t count = std::min(group, cols - k);
        int8_t q[kMaxGroup];
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
      int8_t q[kMaxGroup];
      const double scale = QuantiseGroup(x.data(), count, q);
      double largest = 0;
      for (const float value : x) largest = std::max(largest, std::fabs(double{value}));
      for (int64_t i = 0; i < count; ++i) {
        INFO("of " << count << " below " << magnitude << ", value " << i);
        REQUIRE(std::abs(q[i]) <= 127);
        REQUIRE(std::fabs(q[i] * scale - x[i]) <= HalfStep(largest));
      }
    }
  }
}

TEST_CASE("ties go to the even number, and the largest magnitude is 127 steps") {
  const std::vector<float> x = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 127, -127, 0, -0.0f};
  int8_t q[kMaxGroup];
  CHECK(QuantiseGroup(x.data(), std::ssize(x), q) == 1);
  CHECK(std::vector<int>(q, q + x.size()) == std::vector<int>{0, 2, 2, 0, -2, -2, 127, -127, 0, 0});
}

TEST_CASE("what is no number does not become one, and nearly nothing becomes nothing") {
  int8_t q[kMaxGroup];
  for (const float odd : {kNaN, -kNaN, kInfinity, -kInfinity}) {
    const std::vector<float> x = {1, odd, 3};
    CHECK(std::isnan(QuantiseGroup(x.data(), 3, q)));
    CHECK(q[0] == 0);
  }
  const std::vector<float> tiny = {0x1p-101f, -0x1p-149f, 0};
  CHECK(QuantiseGroup(tiny.data(), 3, q) == 0);
  CHECK(q[0] == 0);
}

TEST_CASE("an int4 group: sixteen numbers, the largest magnitude is eight steps") {
  std::vector<float> x(kInt4Format.group);
  for (int64_t i = 0; i < std::ssize(x); ++i) x[i] = static_cast<float>(i % 16) - 8;
  x[16] = 7.6f;
  x[17] = 0.5f;
  x[18] = -1.5f;
  for (const float sign : {1.0f, -1.0f}) {
    std::vector<float> group = x;
    for (float& value : group) value *= sign;
    const BlockMatrix w(kInt4Format, group, 1, std::ssize(x));
    CHECK(BlockScale(kInt4Format, w.bytes.data() + 1, 0) == sign);
    for (int64_t k = 0; k < std::ssize(x); ++k) {
      INFO(k << " of sign " << sign);
      const float expected = k == 16 ? 7 : k == 17 ? 0 : k == 18 ? -2 : x[k];
      CHECK(w.Worth(0, k) == sign * expected);
    }
  }
}

// The scale is one of three, and none of the others, in double, would have been better: but for the
// roundings of the errors and their sum, 2^−24 of a value or a sum each, below 2^−16 in all.
TEST_CASE("the scale of an int4 group is the best of three") {
  std::mt19937 rng(9);
  constexpr int64_t kRows = 200;
  const int64_t cols = kInt4Format.group;
  const BlockMatrix w(kInt4Format, rng, kRows, cols);
  int taken[3] = {};
  for (int64_t row = 0; row < kRows; ++row) {
    const std::span<const float> x(&w.values[row * cols], static_cast<size_t>(cols));
    const float m = *std::max_element(x.begin(), x.end(),
                                      [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    double errors[3], least = kInfinity;
    for (int i = 0; i < 3; ++i) {
      const double scale = RoundToBf16(m / -static_cast<float>(7 + i));
      errors[i] = 0;
      for (const double value : x) {
        const double n = std::clamp(std::nearbyint(value / scale), -8.0, 7.0);
        errors[i] += (value - n * scale) * (value - n * scale);
      }
      least = std::min(least, errors[i]);
    }
    const float scale = BlockScale(kInt4Format, BlockOf(w.view, row, 0), row % kBlockRows);
    const int steps = static_cast<int>(std::lround(-m / scale));
    REQUIRE((steps >= 7 && steps <= 9));
    REQUIRE(scale == RoundToBf16(m / -static_cast<float>(steps)));
    REQUIRE(errors[steps - 7] <= least * (1 + 0x1p-16));
    ++taken[steps - 7];
  }
  CHECK((taken[0] > 0 && taken[1] > 0 && taken[2] > 0));
}

TEST_CASE("weights in blocks: what is no number does not become one, nearly nothing is nothing") {
  for (const BlockFormat* format : kFormats) {
    std::vector<float> values(6 * 40, 1);
    const float odd[] = {kNaN, -kNaN, kInfinity, -kInfinity};
    for (int64_t row = 0; row < 4; ++row) values[row * 40 + 3] = odd[row];
    for (int64_t k = 0; k < 40; ++k) values[4 * 40 + k] = k % 2 == 0 ? 0x1p-101f : -0x1p-149f;
    const BlockMatrix w(*format, values, 6, 40);
    for (int64_t row = 0; row < 4; ++row) CHECK(std::isnan(w.Worth(row, 0)));
    CHECK(w.Worth(4, 0) == 0);
    CHECK(w.Worth(5, 39) == Approx(1));
  }
}

TEST_CASE("a row is worth its values within its bound, whatever it was stored as") {
  std::mt19937 rng(2);
  for (const BlockFormat* format : kFormats) {
    for (const int64_t cols : {1, 31, 100, 128, 241}) {
      const BlockMatrix w(*format, rng, 19, cols);
      std::vector<bf16> halves(w.values.size());
      std::transform(w.values.begin(), w.values.end(), halves.begin(), ToBf16);
      std::vector<float> rounded(w.values.size());
      for (size_t i = 0; i < rounded.size(); ++i) rounded[i] = ToFloat(halves[i]);
      const BlockMatrix of_rounded(*format, rounded, 19, cols);
      std::vector<std::byte> other(format->Bytes(19, cols));
      Quantise(nullptr, *format, {halves.data(), DType::kBF16, 19, cols, cols}, other.data());
      CHECK(std::equal(other.begin(), other.end(), of_rounded.bytes.begin() + 1));
      std::vector<float> row(cols);
      for (int64_t n = 0; n < 19; ++n) {
        DequantiseRow(w.view, n, row.data());
        for (int64_t k = 0; k < cols; ++k) {
          INFO("int" << format->bits << " row " << n << " of " << cols << ", column " << k);
          REQUIRE(row[k] == static_cast<float>(w.Worth(n, k)));
          REQUIRE(std::fabs(w.Worth(n, k) - w.values[n * cols + k]) <= w.Off(n, k));
        }
      }
    }
  }
}

TEST_CASE("blocks are the same for any number of threads") {
  std::mt19937 rng(8);
  ThreadPool three(3);
  for (const BlockFormat* format : kFormats) {
    const BlockMatrix w(*format, rng, 333, 200);
    std::vector<std::byte> other(format->Bytes(333, 200));
    Quantise(&three, *format, {w.values.data(), DType::kF32, 333, 200, 200}, other.data());
    CHECK(std::equal(other.begin(), other.end(), w.bytes.begin() + 1));
  }
}

// Against the product of the values themselves: what either factor is off by, and two roundings a
// group and one of the bias. And against the product of what they became: the roundings alone.
void RequireExact(std::mt19937& rng, const BlockMatrix& w, int64_t m) {
  const int64_t n = w.view.rows, k = w.view.cols;
  const std::vector<float> x = RandomFloats(rng, m * k), bias = RandomFloats(rng, n);
  const BlockFormat& format = FormatOf(w.view.dtype);
  const QuantisedRows xq(format.group, x, m, k);
  std::vector<double> exact, exact_bound, rounded, rounded_bound;
  for (int64_t i = 0; i < m * n; ++i) {
    double sum = bias[i % n], error = 0, sum_q = bias[i % n], magnitude = std::fabs(bias[i % n]);
    for (int64_t j = 0; j < k; ++j) {
      const int64_t a = i / n * k + j;
      const double exact_w = w.values[i % n * k + j], off = w.Off(i % n, j);
      const double product = xq.values[a] * w.Worth(i % n, j);
      sum += x[a] * exact_w;
      sum_q += product;
      magnitude += std::fabs(product);
      error += xq.half_steps[a] * (std::fabs(exact_w) + off) + std::fabs(x[a]) * off;
    }
    const double roundings = 2.0 * static_cast<double>(format.Groups(k)) + 2;
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

TEST_CASE("products are within the bound, and the same on every path") {
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
    for (const BlockFormat* format : kFormats) {
      RequireExact(rng, BlockMatrix(*format, rng, s.n, s.k), s.m);
    }
  }
}

// Whole numbers that begin every group with the largest, 127 or −8, have the scale 1, and sums
// below 2^24 are exact: the extremes, where a product of 16 bits or a lost correction would show.
std::vector<float> WholeNumbers(std::mt19937& rng, int64_t rows, int64_t k, int64_t group,
                                int lowest, int highest, int first) {
  std::uniform_int_distribution<int> any(lowest, highest);
  std::vector<float> values(rows * k);
  for (int64_t i = 0; i < rows * k; ++i) {
    const int64_t row = i / k;
    values[i] = static_cast<float>(i % k % group == 0 ? first
                                   : row % 3 == 0     ? highest
                                   : row % 3 == 1     ? lowest
                                                      : any(rng));
  }
  return values;
}

TEST_CASE("products of whole numbers are exact, at the ends of their range too") {
  std::mt19937 rng(4);
  for (const BlockFormat* format : kFormats) {
    const bool is_int8 = format == &kInt8Format;
    for (const int64_t k : {100, 128, 241, 896}) {
      const std::vector<float> w = is_int8 ? WholeNumbers(rng, 40, k, format->group, -127, 127, 127)
                                           : WholeNumbers(rng, 40, k, format->group, -8, 7, -8);
      const std::vector<float> x = WholeNumbers(rng, 9, k, format->group, -127, 127, 127);
      std::vector<float> expected(9 * 40);
      for (int64_t i = 0; i < 9 * 40; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < k; ++j) sum += double{x[i / 40 * k + j]} * w[i % 40 * k + j];
        REQUIRE(std::fabs(sum) < 0x1p24);
        expected[i] = static_cast<float>(sum);
      }
      const BlockMatrix matrix(*format, w, 40, k);
      for (const CpuPath path : RunnablePaths()) {
        std::vector<float> y(9 * 40, kNaN);
        Linear({path, nullptr}, {.x = View(x, 9, k), .w = matrix.view, .y = View(y, 9, 40)});
        RequireSameBits(y, expected, Describe(path, matrix.view, 9));
      }
    }
  }
}

// Row m of a product of M rows, on one or two threads, has the bits that each of its outputs has
// alone with the scalar kernel.
void RequireRowsAsAlone(const BlockFormat& format, std::mt19937& rng, int64_t n, int64_t k,
                        const std::vector<int64_t>& ms) {
  ThreadPool two(2);
  const BlockMatrix w(format, rng, n, k);
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

TEST_CASE("an output's bits depend on its row and its token alone") {
  std::mt19937 rng(5);
  std::vector<int64_t> every(70);
  std::iota(every.begin(), every.end(), 1);
  for (const BlockFormat* format : kFormats) {
    RequireRowsAsAlone(*format, rng, 83, 241, every);
    RequireRowsAsAlone(*format, rng, 9, 33, {191, 192, 193, 400});  // blocks of tokens
    RequireRowsAsAlone(*format, rng, 1300, 300, {1, 4});            // many chunks of weight rows
    RequireRowsAsAlone(*format, rng, 130, 9000, {1, 2, 7});  // a tile of rows longer than a chunk
  }
}

// Rows from inside a block on, and leading columns that end inside a group.
TEST_CASE("slices of a matrix in blocks: the rows of the whole, the columns of what is left") {
  std::mt19937 rng(6);
  const auto up_to = [&rng](int64_t max) {
    return std::uniform_int_distribution<int64_t>(1, max)(rng);
  };
  for (int round = 0; round < 60; ++round) {
    const BlockMatrix w(*kFormats[round % 2], rng, up_to(200), up_to(700));
    const BlockFormat& format = FormatOf(w.view.dtype);
    const int64_t first = up_to(w.view.rows) - 1, count = up_to(w.view.rows - first);
    const int64_t width = up_to(w.view.cols), m = up_to(20);
    const WeightView slice = w.view.Rows(first, count).Leading(width);
    const std::vector<float> x = RandomFloats(rng, m * width);
    const QuantisedRows xq(format.group, x, m, width);
    std::vector<double> expected, bound;
    for (int64_t i = 0; i < m * count; ++i) {
      const int64_t row = first + i % count;
      double sum = 0, magnitude = 0;
      for (int64_t j = 0; j < width; ++j) {
        const double term = xq.values[i / count * width + j] * w.Worth(row, j);
        sum += term;
        magnitude += std::fabs(term);
      }
      expected.push_back(sum);
      bound.push_back((2.0 * static_cast<double>(format.Groups(width)) + 2) * kHalfUlp * magnitude);
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
  std::vector<float> x = RandomFloats(rng, 8 * 300);
  x[2 * 300 + 5] = kNaN;
  for (const BlockFormat* format : kFormats) {
    const BlockMatrix w(*format, values, 20, 300);
    for (const CpuPath path : RunnablePaths()) {
      std::vector<float> y(8 * 20);
      Linear({path, nullptr}, {.x = View(x, 8, 300), .w = w.view, .y = View(y, 8, 20)});
      for (int64_t i = 0; i < 8 * 20; ++i) {
        INFO(Describe(path, w.view, 8) << " token " << i / 20 << " row " << i % 20);
        REQUIRE(std::isnan(y[i]) == (i / 20 == 2 || i % 20 == 3));
      }
    }
  }
}

#if defined(__x86_64__)
// A CPU with VNNI takes it on both AVX-512 paths; the kernel without it must be tested there too,
// as it is on the avx2 path above.
TEST_CASE("both AVX-512 paths take VNNI where the CPU has it") {
  const CpuKernels* kernels = Supported(CpuPath::kAvx512) ? KernelsOf(CpuPath::kAvx512) : nullptr;
  if (kernels == nullptr || !__builtin_cpu_supports("avx512vnni")) return;
  CpuKernels vnni, avx2;
  AddAvx512VnniInt8(vnni);
  AddAvx2Int8(avx2);
  CHECK((kernels->int8.run == vnni.int8.run && kernels->int4.run == vnni.int4.run));
  const CpuKernels* plain = KernelsOf(CpuPath::kAvx2);
  CHECK((plain->int8.run == avx2.int8.run && plain->int4.run == avx2.int4.run));
}
#elif defined(__aarch64__)
// The path takes sdot where the CPU has it; what any AArch64 runs must be tested there too.
TEST_CASE("NEON products have the scalar bits, with sdot and without it") {
  std::mt19937 rng(10);
  CpuKernels plain, dot;
  AddNeonInt8(plain);
  AddNeonDotInt8(dot);
  const CpuKernels* chosen = KernelsOf(CpuPath::kNeon);
  CHECK(chosen->int8.run == (HasSdot() ? dot : plain).int8.run);
  CHECK(chosen->int4.run == (HasSdot() ? dot : plain).int4.run);
  for (const BlockFormat* format : kFormats) {
    const BlockMatrix w(*format, rng, 83, 241);
    const std::vector<float> x = RandomFloats(rng, 9 * 241);
    std::vector<float> expected(9 * 83);
    LinearInt8Scalar({}, {.x = View(x, 9, 241), .w = w.view, .y = View(expected, 9, 83)});
    for (int64_t m = 1; m <= 9; ++m) {
      for (const CpuKernels* kernels : {&plain, &dot}) {
        if (kernels == &dot && !HasSdot()) continue;
        std::vector<float> y(m * 83, kNaN);
        LinearInt8({}, format == &kInt8Format ? kernels->int8 : kernels->int4,
                   {.x = View(x, 9, 241).Rows(0, m), .w = w.view, .y = View(y, m, 83)});
        RequireSameBits(
            y, std::span(expected).first(m * 83),
            (kernels == &dot ? "sdot " : "plain ") + Describe(CpuPath::kNeon, w.view, m));
      }
    }
  }
}
#endif

}  // namespace
}  // namespace latentd
