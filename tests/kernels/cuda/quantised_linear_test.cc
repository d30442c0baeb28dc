// Linear with quantised weights, emulated or on a device, against the CPU's scalar path: the bits
// with weights in blocks, and where products are exact; otherwise a bound.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/cuda/blocked_weights.h"
#include "kernels/cuda/operators.h"
#include "kernels/dequantise.h"
#include "kernels/linear.h"
#include "tests/kernels/cuda/test_weights.h"

namespace latentd::cuda {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Shape {
  int64_t m, n, k;
  int64_t leading = 0;  // the view's columns, when fewer than k
  int64_t first_row = 0;

  std::string Describe(DType dtype) const {
    return std::string(Name(dtype)) + " M " + std::to_string(m) + " N " + std::to_string(n) +
           " K " + std::to_string(k) + " leading " + std::to_string(leading) + " first row " +
           std::to_string(first_row);
  }
};
const Shape kShapes[] = {{1, 1, 1},         {3, 65, 33},         {33, 17, 128},
                         {2, 70, 300, 129}, {5, 40, 257, 31, 7}, {2, 3, 0},
                         {0, 5, 7},         {4, 33, 64, 0, 19},  {35, 66, 161, 160, 3}};

// Blocks that no shape is a multiple of.
Cut CutOf(DType dtype, DType scale_dtype, int64_t first_row) {
  if (dtype == DType::kE4M3) return {24, 40, scale_dtype, first_row};
  return {1, 32, scale_dtype, first_row};
}

struct Product {
  Product(std::mt19937& rng, const Shape& shape, DType dtype, DType scale_dtype = DType::kBF16)
      : shape(shape),
        dtype(dtype),
        k(shape.leading == 0 ? shape.k : shape.leading),
        weights(rng, dtype, shape.n, shape.k, CutOf(dtype, scale_dtype, shape.first_row)),
        x(RandomFloats(rng, shape.m * XLd())),
        bias(RandomFloats(rng, shape.n)) {
    for (int64_t i = 0; i < shape.m * XLd(); ++i) {
      if (i % XLd() >= k) x[static_cast<size_t>(i)] = kPoison;
    }
  }
  int64_t XLd() const { return k + 2; }
  int64_t YLd() const { return shape.n + 3; }
  std::vector<float> NoOutput() const {
    return std::vector<float>(static_cast<size_t>(shape.m * YLd()), kPoison);
  }
  std::vector<float> OnCpu() const {
    std::vector<float> y = NoOutput();
    latentd::Linear({}, {.x = {x.data(), shape.m, k, XLd()},
                         .w = weights.OnHost().Leading(k),
                         .y = {y.data(), shape.m, shape.n, YLd()},
                         .bias = bias.data()});
    return y;
  }
  std::vector<float> OnDevice() const { return OnDevice(0, shape.m); }
  std::vector<float> OnDevice(int64_t first, int64_t count) const {
    const Array dx(x), dbias(bias);
    const Array dy(std::vector<float>(static_cast<size_t>(count * YLd()), kPoison));
    Linear(nullptr, {.x = dx.View(shape.m, k, XLd()).Rows(first, count),
                     .w = weights.OnDevice().Leading(k),
                     .y = dy.View(count, shape.n, YLd()),
                     .bias = dbias.data()});
    return dy.Read();
  }

  Shape shape;
  DType dtype;
  int64_t k;
  TestWeights weights;
  std::vector<float> x, bias;
};

// What is a NaN on both sides may be any.
std::vector<float> WithOneNaN(std::vector<float> values) {
  for (float& value : values) {
    if (std::isnan(value)) value = kPoison;
  }
  return values;
}

// A weight of 4 bits times a scale of 8 and an activation of 8 are exact in fp32's 24.
TEST_CASE("Linear with fp8 and int4 weights has the CPU's bits where products are exact") {
  std::mt19937 rng(1);
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::kE4M3, DType::kInt4}) {
      Product product(rng, shape, dtype);
      for (float& value : product.x) value = RoundToBf16(value);
      RequireSameBits(WithOneNaN(product.OnDevice()), WithOneNaN(product.OnCpu()),
                      shape.Describe(dtype));
    }
  }
}

// Both sides dequantise to the same bits and err by K + 1 roundings of Σ|x·w| + |bias| at most.
TEST_CASE("Linear with fp8 and int4 weights is within the bound of fp32 summation") {
  std::mt19937 rng(2);
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::kE4M3, DType::kInt4}) {
      const Product product(rng, shape, dtype, DType::kF32);
      const WeightView w = product.weights.OnHost().Leading(product.k);
      const std::vector<float> actual = product.OnDevice();
      std::vector<float> inside, row(static_cast<size_t>(product.k));
      std::vector<double> expected, bound;
      for (int64_t n = 0; n < shape.n; ++n) {
        DequantiseRow(w, n, row.data());
        for (int64_t m = 0; m < shape.m; ++m) {
          double sum = product.bias[static_cast<size_t>(n)], magnitude = std::fabs(sum);
          for (int64_t k = 0; k < product.k; ++k) {
            const double term = double{row[static_cast<size_t>(k)]} *
                                product.x[static_cast<size_t>(m * product.XLd() + k)];
            sum += term;
            magnitude += std::fabs(term);
          }
          inside.push_back(actual[static_cast<size_t>(m * product.YLd() + n)]);
          expected.push_back(sum);
          bound.push_back((static_cast<double>(product.k) + 2) * kHalfUlp * magnitude);
        }
      }
      RequireWithin(inside, expected, bound, shape.Describe(dtype));
    }
  }
}

TEST_CASE("Linear with weights in blocks has the CPU's bits") {
  std::mt19937 rng(3);
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::kInt8, DType::kInt4Blocks}) {
      const Product product(rng, shape, dtype);
      RequireSameBits(product.OnDevice(), product.OnCpu(), shape.Describe(dtype));
    }
  }
}

// A group of activations that is tiny, halves an odd number of steps, or holds no number.
TEST_CASE("activations of any kind meet weights in blocks as on the CPU") {
  std::mt19937 rng(4);
  const Shape shape = {8, 20, 300};
  for (const DType dtype : {DType::kInt8, DType::kInt4Blocks}) {
    Product product(rng, shape, dtype);
    for (float& value : product.bias) value = 0;  // nothing that small results could vanish beside
    const auto row = [&](int64_t i) { return product.x.data() + i * product.XLd(); };
    for (int64_t j = 0; j < shape.k; ++j) {
      row(0)[j] *= 0x1p-101f;
      row(1)[j] *= 0x1p-126f;
      row(2)[j] = static_cast<float>(rng() % 255) - 127;  // scale 1
      row(2)[j] /= 2;
      row(3)[j] *= 0x1p120f;
      row(4)[j] = 0;
      row(5)[j] = -0.0f;
    }
    row(2)[0] = row(2)[128] = row(2)[256] = 127;
    row(6)[140] = -kInfinity;
    row(7)[299] = kPoison;
    const std::vector<float> actual = product.OnDevice();
    RequireSameBits(WithOneNaN(actual), WithOneNaN(product.OnCpu()), shape.Describe(dtype));
    CHECK(std::isnan(actual[static_cast<size_t>(7 * product.YLd())]));
  }
}

TEST_CASE("a row of a product with quantised weights has the same bits alone and in any batch") {
  std::mt19937 rng(5);
  const Shape shape = {37, 70, 150};
  for (const DType dtype : {DType::kE4M3, DType::kInt4, DType::kInt8, DType::kInt4Blocks}) {
    const Product product(rng, shape, dtype);
    const std::vector<float> together = product.OnDevice();
    for (const int64_t first : {int64_t{0}, int64_t{3}, int64_t{36}}) {
      for (const int64_t count : {int64_t{1}, shape.m - first}) {
        const float* begin = together.data() + first * product.YLd();
        RequireSameBits(product.OnDevice(first, count),
                        {begin, static_cast<size_t>(count * product.YLd())},
                        shape.Describe(dtype) + ": " + std::to_string(count) + " from " +
                            std::to_string(first));
      }
    }
  }
}

template <typename Format>
void RequireSameBlocks(std::mt19937& rng) {
  const BlockFormat& format = FormatOf(Format::kDtype);
  const TestWeights weights(rng, Format::kDtype, 40, 300, {.first_row = 21});
  const WeightView& w = weights.OnHost();
  for (int64_t row = 0; row < w.rows; ++row) {
    const int64_t lane = (21 + row) % kBlockRows;
    for (int64_t k = 0; k < w.cols; ++k) {
      const std::byte* block = BlockOf(w, row, k / format.group);
      const int64_t in_group = k % format.group;
      REQUIRE(Format::Of(w, row, k / format.group) == block);
      REQUIRE(Format::Scale(block, lane) == BlockScale(format, block, lane));
      REQUIRE(Format::Number(block, lane, static_cast<int>(in_group)) ==
              BlockNumber(format, block, lane, in_group));
    }
  }
}
TEST_CASE("a kernel finds numbers and scales in blocks where they were stored") {
  std::mt19937 rng(6);
  RequireSameBlocks<Int8Blocks>(rng);
  RequireSameBlocks<Int4Blocks>(rng);
}

TEST_CASE("a group of activations gets the scale and the numbers of QuantiseGroup") {
  std::mt19937 rng(7);
  for (const float magnitude : {3.0f, 0x1p-100f, 0x1p-99f, 0x1p-126f, 0x1p120f, 0.0f}) {
    for (const float special : {0.0f, -0.0f, 0x1p-101f, kInfinity, -kInfinity, kPoison, -kPoison}) {
      std::vector<float> x = RandomFloats(rng, 31, 1);
      int32_t largest = 0;
      for (float& value : x) value *= magnitude;
      x.push_back(special);
      for (const float value : x) largest = std::max(largest, MagnitudeBits(value));
      int8_t expected[32];
      const float scale = QuantiseGroup(x.data(), 32, expected);
      const GroupScale group = ScaleOf(largest);
      INFO("magnitude " << magnitude << " and " << special);
      CHECK(std::isnan(group.scale) == std::isnan(scale));
      if (!std::isnan(scale)) CHECK(group.scale == scale);
      for (size_t i = 0; i < x.size(); ++i) CHECK(NumberOf(x[i], group) == expected[i]);
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
