// Norm, rotary embedding and the element operators, emulated or on a device, against the CPU's.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/cuda/operators.h"
#include "kernels/elementwise.h"
#include "kernels/rope.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// Rows of ld elements, of which those past cols are NaN.
std::vector<float> Padded(std::mt19937& rng, int64_t rows, int64_t cols, int64_t ld,
                          float magnitude = 1) {
  std::vector<float> values = RandomFloats(rng, rows * ld, magnitude);
  for (size_t i = 0; i < values.size(); ++i) {
    if (static_cast<int64_t>(i) % ld >= cols) values[i] = kPoison;
  }
  return values;
}

std::vector<float> Normalised(const std::vector<float>& x, int64_t rows, int64_t cols, int64_t ld,
                              const std::vector<float>& weight) {
  const Array device_x(x), device_weight(weight), y(x);
  RmsNorm(nullptr, device_x.View(rows, cols, ld), weight.empty() ? nullptr : device_weight.data(),
          1e-5f, y.View(rows, cols, ld));
  return y.Read();
}

TEST_CASE("RmsNorm divides by the root mean square and keeps to its columns", "[small]") {
  std::mt19937 rng(1);
  for (const int64_t cols : {1, 5, 127, 128, 129, 1000}) {
    const int64_t rows = 7, ld = cols + 3;
    const std::vector<float> x = Padded(rng, rows, cols, ld, 3);
    for (const std::vector<float>& weight : {RandomFloats(rng, cols), std::vector<float>()}) {
      // n roundings of a sum of squares, halved by the root, and five operations more.
      std::vector<double> expected, bound;
      std::vector<float> inside;
      const std::vector<float> y = Normalised(x, rows, cols, ld, weight);
      for (int64_t i = 0; i < rows; ++i) {
        double squares = 0;
        for (int64_t j = 0; j < cols; ++j) squares += double{x[i * ld + j]} * x[i * ld + j];
        const double rho = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5f);
        for (int64_t j = 0; j < ld; ++j) {
          if (j >= cols) {
            REQUIRE(std::isnan(y[i * ld + j]));
            continue;
          }
          inside.push_back(y[i * ld + j]);
          expected.push_back(x[i * ld + j] * rho * (weight.empty() ? 1 : weight[j]));
          bound.push_back(std::fabs(expected.back()) * (static_cast<double>(cols) / 2 + 6) *
                          kHalfUlp);
        }
      }
      RequireWithin(inside, expected, bound, "RmsNorm of " + std::to_string(cols));
    }
  }
}

TEST_CASE("RmsNorm of a row does not depend on its neighbours, and works in place") {
  std::mt19937 rng(2);
  const int64_t rows = 9, cols = 700;
  const std::vector<float> x = RandomFloats(rng, rows * cols, 3), weight = RandomFloats(rng, cols);
  const std::vector<float> together = Normalised(x, rows, cols, cols, weight);
  for (int64_t i = 0; i < rows; ++i) {
    const std::vector<float> row(&x[i * cols], &x[i * cols] + cols);
    RequireSameBits(Normalised(row, 1, cols, cols, weight), {&together[i * cols], cols},
                    "row " + std::to_string(i));
  }
  const Array device_weight(weight), in_place(x);
  RmsNorm(nullptr, in_place.View(rows, cols), device_weight.data(), 1e-5f,
          in_place.View(rows, cols));
  RequireSameBits(in_place.Read(), together, "in place");
}

TEST_CASE("Rope has the bits of the CPU's, in both pairings", "[small]") {
  std::mt19937 rng(3);
  for (const int64_t pairs : {1, 5, 32}) {
    const int64_t heads = 3, tokens = 11, rows = heads * tokens, ld = 2 * pairs + 6;
    const std::vector<float> x = Padded(rng, rows, 2 * pairs, ld);
    std::vector<float> angles = RandomFloats(rng, tokens * 2 * pairs);
    for (const bool interleaved : {true, false}) {
      std::vector<float> expected = x;
      latentd::Rope({}, {expected.data(), rows, 2 * pairs, ld},
                    latentd::View(angles, tokens, 2 * pairs), heads, interleaved);
      const Array actual(x), device_angles(angles);
      Rope(nullptr, actual.View(rows, 2 * pairs, ld), device_angles.View(tokens, 2 * pairs), heads,
           interleaved);
      RequireSameBits(actual.Read(), expected, interleaved ? "interleaved" : "halves");
    }
  }
}

TEST_CASE("AddInPlace and ScaleInPlace have the bits of the CPU's", "[small]") {
  std::mt19937 rng(4);
  const int64_t rows = 9, cols = 70, ld = 73;
  const std::vector<float> x = Padded(rng, rows, cols, ld), y = Padded(rng, rows, cols, ld);
  const Array device_y(y);
  for (const float scale : {1.0f, 0.3f}) {
    std::vector<float> expected = x;
    const Array actual(x);
    latentd::AddInPlace({}, {expected.data(), rows, cols, ld}, {y.data(), rows, cols, ld}, scale);
    AddInPlace(nullptr, actual.View(rows, cols, ld), device_y.View(rows, cols, ld), scale);
    RequireSameBits(actual.Read(), expected, "AddInPlace");
    latentd::ScaleInPlace({}, {expected.data(), rows, cols, ld}, scale);
    ScaleInPlace(nullptr, actual.View(rows, cols, ld), scale);
    RequireSameBits(actual.Read(), expected, "ScaleInPlace");
  }
}

TEST_CASE("SiluMul is within the bound of its exponential, from one end to the other", "[small]") {
  std::mt19937 rng(5);
  const int64_t rows = 3, cols = 503, ld = 505;
  std::vector<float> gate = Padded(rng, rows, cols, ld, 100);
  const float special[] = {0.0f, -0.0f, 1e-30f, -87.2f, -87.4f, -88.8f,
                           -200, 200,   1e30f,  -1e30f, 88.8f};
  std::copy(std::begin(special), std::end(special), gate.begin());
  const std::vector<float> up = Padded(rng, rows, cols, ld, 2);
  const Array device_gate(gate), device_up(up);
  SiluMul(nullptr, device_gate.View(rows, cols, ld), device_up.View(rows, cols, ld));
  const std::vector<float> y = device_gate.Read();
  std::vector<double> expected, bound;
  std::vector<float> inside;
  for (size_t i = 0; i < gate.size(); ++i) {
    if (std::isnan(gate[i])) {
      REQUIRE(std::isnan(y[i]));
      continue;
    }
    inside.push_back(y[i]);
    expected.push_back(gate[i] / (1 + std::exp(-double{gate[i]})) * up[i]);
    // e^−x with relative error 3e-7 (CUDA's expf: 2 units in the last place), three operations;
    // below e^−87.3 the exponential may be zero or infinite.
    bound.push_back(std::fabs(expected.back()) * (3e-7 + 4 * kHalfUlp) + 100 * 0x1p-124);
  }
  RequireWithin(inside, expected, bound, "SiluMul");
}

TEST_CASE("Embedding widens the rows of its ids, whatever the table's type", "[small]") {
  std::mt19937 rng(6);
  const int64_t vocabulary = 13, cols = 37, ld = 40;
  const std::vector<uint32_t> ids = {12, 0, 5, 5, 12, 1, 7};
  const auto rows = static_cast<int64_t>(ids.size());
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<uint32_t> words(vocabulary * ld);  // any bits but those of a NaN
    for (uint32_t& word : words) word = static_cast<uint32_t>(rng()) & 0xbbffbbff;
    std::vector<float> expected(rows * cols);
    latentd::Embedding({}, ids, {words.data(), dtype, vocabulary, cols, ld},
                       latentd::View(expected, rows, cols));
    const Array table(words), device_ids(ids);
    const Array out(std::vector<float>(rows * cols, kPoison));
    Embedding(nullptr, {device_ids.data(), ids.size()}, {table.data(), dtype, vocabulary, cols, ld},
              out.View(rows, cols));
    RequireSameBits(out.Read(), expected, "dtype " + std::to_string(static_cast<int>(dtype)));
  }
}

}  // namespace
}  // namespace latentd::cuda
