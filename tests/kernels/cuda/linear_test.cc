// Projections by the plain kernel, emulated or on a device: the bits of the CPU's scalar path with
// bf16 weights, its bound with others, and bits that depend on K alone. No distance between rows of
// weights is a multiple of 8, so none goes to the matrix units (matrix_linear_test.cc).
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/cuda/operators.h"
#include "kernels/linear.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/cuda/product_shape.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

// Operands with NaN between rows and after them: whatever lies outside must not be read.
struct Product {
  Product(std::mt19937& rng, const Shape& shape, DType dtype, bool transposed)
      : shape(shape), dtype(dtype), transposed(transposed) {
    x_ld = shape.batch * (shape.k + 2);
    y_ld = shape.batch * (shape.n + 3);
    w_rows = transposed ? shape.k : shape.n;
    w_cols = transposed ? shape.n : shape.k;
    w_ld = w_cols + 5;
    REQUIRE(w_ld % 8 != 0);
    x = RandomFloats(rng, shape.m * x_ld);
    for (size_t i = 0; i < x.size(); ++i) {
      if (static_cast<int64_t>(i) % (shape.k + 2) >= shape.k) x[i] = kPoison;
    }
    const int64_t matrices = (shape.batch + shape.share - 1) / shape.share;
    w.resize(static_cast<size_t>(matrices * (w_rows + 1) * w_ld * (dtype == DType::kF32 ? 2 : 1)),
             0xffff);
    for (int64_t row = 0; row < matrices * (w_rows + 1); ++row) {
      for (int64_t j = 0; j < w_cols && row % (w_rows + 1) < w_rows; ++j) {
        SetWeight(row * w_ld + j, RandomFloats(rng, 1)[0]);
      }
    }
    bias = RandomFloats(rng, shape.n);
  }
  void SetWeight(int64_t i, float value) {
    const auto bits = std::bit_cast<uint32_t>(value);
    const size_t place = static_cast<size_t>(i);
    if (dtype == DType::kF32) {
      w[2 * place] = static_cast<uint16_t>(bits);
      w[2 * place + 1] = static_cast<uint16_t>(bits >> 16);
    } else if (dtype == DType::kBF16) {
      w[place] = ToBf16(value).bits;
    } else {  // any half below 2: sign, exponent 8 … 15, mantissa
      w[place] =
          static_cast<uint16_t>((bits >> 16 & 0x8000) | (8 + bits % 8) << 10 | (bits >> 3 & 1023));
    }
  }
  // Args over operands that begin at these places.
  template <typename Args>
  Args ArgsAt(const float* x_data, const uint16_t* w_data, float* y_data) const {
    Args args;
    args.x = {x_data, shape.m, shape.k, x_ld};
    args.w = {w_data, dtype, w_rows, w_cols, w_ld};
    args.y = {y_data, shape.m, shape.n, y_ld};
    args.batch = shape.batch;
    args.x_batch_stride = shape.k + 2;
    args.y_batch_stride = shape.n + 3;
    args.w_batch_stride = (w_rows + 1) * w_ld;
    args.w_batch_share = shape.share;
    return args;
  }
  std::vector<float> NoOutput() const {
    return std::vector<float>(static_cast<size_t>(shape.m * y_ld), kPoison);
  }
  std::vector<float> OnCpu(bool biased) const {
    std::vector<float> y = NoOutput();
    if (transposed) {
      latentd::LinearTransposed({}, ArgsAt<LinearTransposedArgs>(x.data(), w.data(), y.data()));
    } else {
      LinearArgs args = ArgsAt<LinearArgs>(x.data(), w.data(), y.data());
      if (biased) args.bias = bias.data();
      latentd::Linear({}, args);
    }
    return y;
  }
  std::vector<float> OnDevice(bool biased) const {
    const Array dx(x), dy(NoOutput()), dbias(bias);
    const Array dw(w);
    if (transposed) {
      LinearTransposed(nullptr, ArgsAt<LinearTransposedArgs>(dx.data(), dw.data(), dy.data()));
    } else {
      LinearArgs args = ArgsAt<LinearArgs>(dx.data(), dw.data(), dy.data());
      if (biased) args.bias = dbias.data();
      Linear(nullptr, args);
    }
    return dy.Read();
  }

  Shape shape;
  DType dtype;
  bool transposed;
  int64_t x_ld, y_ld, w_rows, w_cols, w_ld;
  std::vector<float> x, bias;
  std::vector<uint16_t> w;
};

const Shape kShapes[] = {{1, 1, 1},    {3, 65, 33},   {33, 64, 32},      {31, 130, 97},
                         {70, 17, 64}, {1, 200, 300}, {5, 40, 70, 6, 3}, {40, 66, 31, 4, 2},
                         {2, 4, 0},    {0, 5, 7},     {4, 96, 128, 5, 1}};

TEST_CASE("Linear and LinearTransposed with bf16 weights have the bits of the CPU's scalar path",
          "[small]") {
  std::mt19937 rng(1);
  for (const Shape& shape : kShapes) {
    for (const bool transposed : {false, true}) {
      const Product product(rng, shape, DType::kBF16, transposed);
      for (const bool biased : {false, true}) {
        RequireSameBits(product.OnDevice(biased), product.OnCpu(biased), shape.Describe());
      }
    }
  }
}

// Both sides err by at most K + 2 roundings of Σ|x·w| + |bias|; operands lie below 1, halves
// below 2.
TEST_CASE("Linear with fp32 and fp16 weights is within the bound of fp32 summation", "[small]") {
  std::mt19937 rng(2);
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::kF32, DType::kF16}) {
      for (const bool transposed : {false, true}) {
        const Product product(rng, shape, dtype, transposed);
        const std::vector<float> actual = product.OnDevice(true), expected = product.OnCpu(true);
        const auto k = static_cast<double>(shape.k);
        const double bound = 2 * (k + 2) * kHalfUlp * (2 * k + 1);
        for (size_t i = 0; i < actual.size(); ++i) {
          INFO(shape.Describe() << " at " << i);
          REQUIRE(std::isnan(actual[i]) == std::isnan(expected[i]));
          if (!std::isnan(actual[i])) REQUIRE(std::fabs(actual[i] - expected[i]) <= bound);
        }
      }
    }
  }
}

TEST_CASE("a row of a product has the same bits alone and in any number and order of rows") {
  std::mt19937 rng(3);
  const Shape shape = {70, 80, 200};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const bool transposed : {false, true}) {
      Product product(rng, shape, dtype, transposed);
      const std::vector<float> together = product.OnDevice(false);
      const std::vector<float> x = product.x;
      for (const int64_t first : {int64_t{0}, int64_t{31}, int64_t{69}}) {
        // The rows from `first` on in reverse order.
        const int64_t count = shape.m - first;
        product.shape.m = count;
        product.x.clear();
        std::vector<float> expected;
        for (int64_t row = shape.m - 1; row >= first; --row) {
          product.x.insert(product.x.end(), &x[row * product.x_ld],
                           &x[row * product.x_ld] + product.x_ld);
          expected.insert(expected.end(), &together[row * product.y_ld],
                          &together[row * product.y_ld] + product.y_ld);
        }
        RequireSameBits(product.OnDevice(false), expected, std::to_string(count) + " rows");
      }
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
