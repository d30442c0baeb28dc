// Norms, rotary embedding and the small row operators, on every path and with
// threads.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/core/thread_pool.h"
#include "kernels/elementwise.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// Runs `check(context)` on every path, alone and with two threads.
template <typename Check>
void OnEveryContext(const Check& check) {
  ThreadPool two(2);
  for (const CpuPath path : RunnablePaths()) {
    check(Context{path, nullptr});
    check(Context{path, &two});
  }
}

// 1/√(mean(x²) + ε): n roundings of a sum of squares, halved by the root, and five operations more.
double Rho(const float* x, int64_t n, double extra, int64_t extra_count, double epsilon) {
  double sum = extra;
  for (int64_t j = 0; j < n; ++j) sum += double{x[j]} * x[j];
  return 1 / std::sqrt(sum / static_cast<double>(n + extra_count) + epsilon);
}

TEST_CASE("RmsNorm divides by the root mean square, in place too") {
  std::mt19937 rng(1);
  for (const int64_t cols : {1, 5, 16, 17, 100, 2048}) {
    const int64_t rows = 37;
    const std::vector<float> x = RandomFloats(rng, rows * cols, 3);
    const std::vector<float> weight = RandomFloats(rng, cols);
    for (const bool weighted : {true, false}) {
      std::vector<double> expected, bound;
      for (int64_t i = 0; i < rows * cols; ++i) {
        const double rho = Rho(&x[i / cols * cols], cols, 0, 0, 1e-5f);
        expected.push_back(x[i] * rho * (weighted ? weight[i % cols] : 1));
        bound.push_back(std::fabs(expected.back()) * (static_cast<double>(cols) / 2 + 6) *
                        kHalfUlp);
      }
      OnEveryContext([&](const Context& context) {
        std::vector<float> y = x;
        const float* weights = weighted ? weight.data() : nullptr;
        RmsNorm(context, View(y, rows, cols), weights, 1e-5f, View(y, rows, cols));
        RequireWithin(y, expected, bound, "RmsNorm of " + std::to_string(cols));
      });
    }
  }
}

TEST_CASE("InverseRms takes the extra squares of the unified key norm") {
  std::mt19937 rng(2);
  const int64_t rows = 50, cols = 21, ld = 24;
  std::vector<float> x = RandomFloats(rng, rows * ld);
  for (int64_t i = 0; i < rows; ++i) std::fill_n(&x[i * ld + cols], ld - cols, kPoison);
  std::vector<float> extra = RandomFloats(rng, rows, 9);
  for (float& value : extra) value = std::fabs(value);
  for (const int64_t extra_count : {0, 7}) {
    std::vector<double> expected, bound;
    for (int64_t i = 0; i < rows; ++i) {
      expected.push_back(Rho(&x[i * ld], cols, extra_count > 0 ? extra[i] : 0, extra_count, 1e-6f));
      bound.push_back(expected.back() * (static_cast<double>(cols) / 2 + 6) * kHalfUlp);
    }
    OnEveryContext([&](const Context& context) {
      std::vector<float> out(rows);
      InverseRms(context, {x.data(), rows, cols, ld}, extra_count > 0 ? extra.data() : nullptr,
                 extra_count, 1e-6f, out.data());
      RequireWithin(out, expected, bound, "InverseRms");
    });
  }
}

TEST_CASE("rotary angles are those of position times frequency") {
  const std::vector<int32_t> positions = {0, 1, 17, 131071};
  const std::vector<double> inv_freq = {1.0, 0.1, 1e-4};
  const float magnitude = 1.25f;
  std::vector<float> angles(positions.size() * 6);
  RopeAngles(positions, inv_freq, magnitude, View(angles, 4, 6));
  for (size_t i = 0; i < positions.size(); ++i) {
    for (size_t j = 0; j < inv_freq.size(); ++j) {
      // In long double, of the double product that the operator takes.
      const long double angle = positions[i] * inv_freq[j];
      CHECK(std::fabs(angles[i * 6 + j] - std::cos(angle) * magnitude) <= 1.25 * kHalfUlp);
      CHECK(std::fabs(angles[i * 6 + 3 + j] - std::sin(angle) * magnitude) <= 1.25 * kHalfUlp);
    }
  }
}

TEST_CASE("Rope rotates adjacent pairs or halves, each row by its token's angles") {
  std::mt19937 rng(3);
  const int64_t heads = 3, tokens = 40, pairs = 5;
  const std::vector<float> x = RandomFloats(rng, tokens * heads * 2 * pairs);
  const std::vector<float> angles = RandomFloats(rng, tokens * 2 * pairs);
  for (const bool interleaved : {true, false}) {
    std::vector<double> expected(x.size()), bound(x.size());
    for (int64_t row = 0; row < tokens * heads; ++row) {
      for (int64_t j = 0; j < pairs; ++j) {
        const int64_t first = row * 2 * pairs + (interleaved ? 2 * j : j);
        const int64_t second = first + (interleaved ? 1 : pairs);
        const double c = angles[row / heads * 2 * pairs + j];
        const double s = angles[row / heads * 2 * pairs + pairs + j];
        expected[first] = x[first] * c - x[second] * s;
        expected[second] = x[first] * s + x[second] * c;
        bound[first] = bound[second] = 4 * kHalfUlp;  // |x|, |angle| < 1
      }
    }
    OnEveryContext([&](const Context& context) {
      std::vector<float> rotated = x;
      Rope(context, View(rotated, tokens * heads, 2 * pairs), View(angles, tokens, 2 * pairs),
           heads, interleaved);
      RequireWithin(rotated, expected, bound, interleaved ? "interleaved" : "halves");
    });
  }
  // By hand: a quarter turn takes (1, 2) to (−2, 1).
  std::vector<float> pair = {1, 2};
  const std::vector<float> quarter = {0, 1};
  Rope({}, View(pair, 1, 2), View(quarter, 1, 2), 1, true);
  CHECK(pair == std::vector<float>{-2, 1});
}

TEST_CASE("SiluMul is within the bound of its exponential, from one end to the other") {
  std::mt19937 rng(4);
  const int64_t rows = 9, cols = 1003;
  std::vector<float> gate = RandomFloats(rng, rows * cols, 100);
  const float special[] = {0.0f, -0.0f, 1e-30f, -87.2f, -87.4f, -88.8f,
                           -200, 200,   1e30f,  -1e30f, 88.8f};
  std::copy(std::begin(special), std::end(special), gate.begin());
  const std::vector<float> up = RandomFloats(rng, rows * cols, 2);
  std::vector<double> expected, bound;
  for (size_t i = 0; i < gate.size(); ++i) {
    expected.push_back(gate[i] / (1 + std::exp(-double{gate[i]})) * up[i]);
    // e^−x with relative error 3e-7, three operations; below e^−87.3 the exponential may be zero or
    // infinite.
    bound.push_back(std::fabs(expected.back()) * (3e-7 + 4 * kHalfUlp) + 100 * 0x1p-124);
  }
  OnEveryContext([&](const Context& context) {
    std::vector<float> y = gate;
    SiluMul(context, View(y, rows, cols), View(up, rows, cols));
    RequireWithin(y, expected, bound, std::string(Name(context.cpu_path)));
  });
}

TEST_CASE("rows of the embedding are widened by id") {
  const std::vector<float> f32 = {1, 2, 3, 4, 5, 6};
  const std::vector<uint16_t> f16 = {0x3c00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600};
  std::vector<uint16_t> b16;
  for (const float value : f32) b16.push_back(ToBf16(value).bits);
  const std::vector<uint32_t> ids = {2, 0, 2};
  const void* const tables[] = {f32.data(), f16.data(), b16.data()};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<float> out(6);
    Embedding({}, ids, {tables[static_cast<int>(dtype)], dtype, 3, 2, 2}, View(out, 3, 2));
    CHECK(out == std::vector<float>{5, 6, 1, 2, 5, 6});
  }
}

TEST_CASE(
    "AddInPlace, ScaleInPlace, ScaleRowsInPlace and RoundToBf16InPlace keep to their columns") {
  std::mt19937 rng(5);
  const int64_t rows = 300, cols = 70, ld = 72;
  const std::vector<float> x = RandomFloats(rng, rows * ld);
  const std::vector<float> y = RandomFloats(rng, rows * ld);
  std::vector<float> sum = x, scaled_sum = x, scaled = x, rows_scaled = x, rounded = x;
  for (int64_t i = 0; i < rows * ld; ++i) {
    if (i % ld >= cols) continue;
    sum[i] += y[i];
    scaled_sum[i] += 0.3f * y[i];
    scaled[i] *= 0.3f;
    rows_scaled[i] *= y[i / ld];
    rounded[i] = RoundToBf16(x[i]);
  }
  OnEveryContext([&](const Context& context) {
    std::vector<float> actual = x;
    AddInPlace(context, {actual.data(), rows, cols, ld}, {y.data(), rows, cols, ld});
    RequireSameBits(actual, sum, "AddInPlace");
    actual = x;
    AddInPlace(context, {actual.data(), rows, cols, ld}, {y.data(), rows, cols, ld}, 0.3f);
    RequireSameBits(actual, scaled_sum, "AddInPlace with a scale");
    actual = x;
    ScaleInPlace(context, {actual.data(), rows, cols, ld}, 0.3f);
    RequireSameBits(actual, scaled, "ScaleInPlace");
    actual = x;
    ScaleRowsInPlace(context, {actual.data(), rows, cols, ld}, y.data());
    RequireSameBits(actual, rows_scaled, "ScaleRowsInPlace");
    actual = x;
    RoundToBf16InPlace(context, {actual.data(), rows, cols, ld});
    RequireSameBits(actual, rounded, "RoundToBf16InPlace");
  });
}

}  // namespace
}  // namespace latentd
