// Products on the matrix units, emulated or on a device: within a derived bound of exact sums, and
// bits that no number of rows, neighbour, tile width or schedule changes.
#include "kernels/cuda/matrix_linear.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "kernels/cuda/linear_order.h"
#include "kernels/cuda/operators.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/cuda/product_shape.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

// Operands with NaN after rows, matrices and slices of K: whatever lies outside must not count.
struct Product {
  Product(std::mt19937& rng, const Shape& shape, bool transposed)
      : shape(shape), transposed(transposed) {
    w_rows = transposed ? shape.k : shape.n;
    w_cols = transposed ? shape.n : shape.k;
    x_ld = shape.batch * XStride();
    y_ld = shape.batch * YStride();
    w_ld = (w_cols + 7) / 8 * 8 + 8;
    x = RandomFloats(rng, shape.m * x_ld);
    for (size_t i = 0; i < x.size(); ++i) {
      if (static_cast<int64_t>(i) % XStride() >= shape.k) x[i] = kPoison;
    }
    const int64_t matrices = (shape.batch + shape.share - 1) / shape.share;
    w.resize(static_cast<size_t>(matrices * (w_rows + 1) * w_ld), ToBf16(kPoison));
    for (int64_t row = 0; row < matrices * (w_rows + 1); ++row) {
      if (row % (w_rows + 1) == w_rows) continue;
      const std::vector<float> values = RandomFloats(rng, w_cols);
      std::transform(values.begin(), values.end(), w.begin() + row * w_ld, ToBf16);
    }
    bias = RandomFloats(rng, shape.n);
  }
  int64_t XStride() const { return shape.k + 2; }
  int64_t YStride() const { return shape.n + 3; }
  float Weight(int64_t matrix, int64_t n, int64_t k) const {
    const int64_t row = transposed ? k : n, col = transposed ? n : k;
    return ToFloat(w[static_cast<size_t>((matrix * (w_rows + 1) + row) * w_ld + col)]);
  }

  template <typename Args>
  Args ArgsAt(const float* x_data, const bf16* w_data, float* y_data) const {
    Args args;
    args.x = {x_data, shape.m, shape.k, x_ld};
    args.w = {w_data, DType::kBF16, w_rows, w_cols, w_ld};
    args.y = {y_data, shape.m, shape.n, y_ld};
    args.batch = shape.batch;
    args.x_batch_stride = XStride();
    args.y_batch_stride = YStride();
    args.w_batch_stride = (w_rows + 1) * w_ld;
    args.w_batch_share = shape.share;
    return args;
  }
  // By the operator, or with a plan of the test's. Only Linear has a bias.
  std::vector<float> Run(std::optional<LinearPlan> plan, bool biased = false) const {
    const Array dx(x), dbias(bias),
        dy(std::vector<float>(static_cast<size_t>(shape.m * y_ld), kPoison));
    const Array dw(w);
    if (transposed) {
      const auto args = ArgsAt<LinearTransposedArgs>(dx.data(), dw.data(), dy.data());
      REQUIRE(TakesMatrixUnits(args));
      plan ? MatrixLinear(nullptr, args, *plan) : LinearTransposed(nullptr, args);
    } else {
      auto args = ArgsAt<LinearArgs>(dx.data(), dw.data(), dy.data());
      if (biased) args.bias = dbias.data();
      REQUIRE(TakesMatrixUnits(args));
      plan ? MatrixLinear(nullptr, args, *plan) : Linear(nullptr, args);
    }
    return dy.Read();
  }

  Shape shape;
  bool transposed;
  int64_t x_ld, y_ld, w_rows, w_cols, w_ld;
  std::vector<float> x, bias;
  std::vector<bf16> w;
};

// The exact output (m, b · YStride() + n) and what it may miss, or nothing between outputs.
//
// A step adds 16 products, exact in fp32, to the sum: 17 numbers, each cut to no fewer than 24 bits
// of the largest, and the result cut to fp32. Nothing is larger than S = Σ|x·w|, so a step errs by
// 18 units of 2⁻²³·S at most; then come the parts and the bias, one rounding each.
struct Expected {
  double value = 0;
  double bound = 0;
};
std::optional<Expected> Exact(const Product& product, int64_t m, int64_t place, bool biased) {
  const Shape& shape = product.shape;
  const int64_t b = place / product.YStride(), n = place % product.YStride();
  if (n >= shape.n) return std::nullopt;
  Expected exact;
  double size = 0;
  for (int64_t k = 0; k < shape.k; ++k) {
    const float x = product.x[static_cast<size_t>(m * product.x_ld + b * product.XStride() + k)];
    const double term = static_cast<double>(RoundToBf16(x)) * product.Weight(b / shape.share, n, k);
    exact.value += term;
    size += std::fabs(term);
  }
  if (biased) {
    exact.value += product.bias[static_cast<size_t>(n)];
    size += std::fabs(product.bias[static_cast<size_t>(n)]);
  }
  const int64_t roundings = 18 * ((shape.k + 15) / 16) + kMostParts + 1;
  exact.bound = static_cast<double>(roundings) * 2 * kHalfUlp * size;
  return exact;
}

// Every tile width; heads that share weights, whose outputs end inside a tile; widths of no round
// number; 1, 2, 4 and 8 parts.
const Shape kShapes[] = {{1, 1, 1},         {3, 65, 33},        {8, 64, 64},        {9, 130, 241},
                         {16, 64, 256},     {17, 70, 513},      {33, 129, 600},     {64, 128, 130},
                         {65, 40, 96},      {129, 66, 80},      {200, 96, 72},      {4, 70, 2100},
                         {5, 40, 70, 6, 3}, {40, 66, 96, 4, 2}, {4, 96, 128, 5, 1}, {2, 33, 1030},
                         {0, 5, 7}};

TEST_CASE("a product on the matrix units is within the bound of its sums", "[small]") {
  constexpr std::pair<bool, bool> kKinds[] = {{false, false}, {false, true}, {true, false}};
  std::mt19937 rng(1);
  for (const Shape& shape : kShapes) {
    for (const auto& [transposed, biased] : kKinds) {
      const Product product(rng, shape, transposed);
      const std::vector<float> actual = product.Run(std::nullopt, biased);
      for (int64_t i = 0; i < static_cast<int64_t>(actual.size()); ++i) {
        const auto exact = Exact(product, i / product.y_ld, i % product.y_ld, biased);
        const float value = actual[static_cast<size_t>(i)];
        INFO(shape.Describe() << " transposed " << transposed << " at " << i << ": " << value);
        REQUIRE(std::isnan(value) == !exact);
        if (exact) REQUIRE(std::fabs(value - exact->value) <= exact->bound);
      }
    }
  }
}

TEST_CASE("tile width and cluster change no bit of a product", "[small]") {
  std::mt19937 rng(2);
  const Shape shapes[] = {{35, 70, 530}, {20, 129, 1100}, {9, 40, 2064}, {12, 30, 96, 3, 3}};
  for (const Shape& shape : shapes) {
    const Product product(rng, shape, shape.n == 129);
    const int parts = NumParts(static_cast<int>(shape.k));
    const std::vector<float> expected = product.Run(LinearPlan{kNarrowestTile, 1});
    for (int tokens = kNarrowestTile; tokens <= kWidestTile; tokens *= 2) {
      for (const int cluster : {1, parts}) {
        RequireSameBits(product.Run(LinearPlan{tokens, cluster}), expected,
                        shape.Describe() + " by " + std::to_string(tokens) + " tokens, " +
                            std::to_string(cluster) + " blocks");
      }
    }
  }
}

// Rows [first, first + count) of a product, in reverse order, everything else NaN or not there.
Product Reversed(const Product& product, int64_t first, int64_t count) {
  Product reversed = product;
  reversed.shape.m = count;
  reversed.x.clear();
  for (int64_t row = first + count - 1; row >= first; --row) {
    const auto begin = product.x.begin() + row * product.x_ld;
    reversed.x.insert(reversed.x.end(), begin, begin + product.x_ld);
  }
  return reversed;
}

TEST_CASE("a row has the same bits alone and in any number and order of rows") {
  std::mt19937 rng(3);
  const Shape shape = OnDevice() ? Shape{512, 200, 2100} : Shape{140, 40, 520};
  const Product product(rng, shape, false);
  const std::vector<float> together = product.Run(std::nullopt);
  std::vector<int64_t> counts = {1, 2, 7, 8, 9, 17, 33, 65, 129};
  if (OnDevice()) {
    counts.clear();
    for (int64_t count = 1; count <= shape.m; ++count) counts.push_back(count);
  }
  for (const int64_t count : counts) {
    const int64_t first = std::uniform_int_distribution<int64_t>(0, shape.m - count)(rng);
    std::vector<float> expected;
    for (int64_t row = first + count - 1; row >= first; --row) {
      const auto begin = together.begin() + row * product.y_ld;
      expected.insert(expected.end(), begin, begin + product.y_ld);
    }
    RequireSameBits(Reversed(product, first, count).Run(std::nullopt), expected,
                    std::to_string(count) + " rows from " + std::to_string(first));
  }
}

TEST_CASE("what is not finite in a row stays in that row") {
  std::mt19937 rng(4);
  const Product product(rng, {21, 66, 300}, false);
  const std::vector<float> clean = product.Run(std::nullopt);
  Product spoiled = product;
  for (const int64_t row : {0, 5, 20}) {
    spoiled.x[static_cast<size_t>(row * product.x_ld + 17)] =
        row == 5 ? std::numeric_limits<float>::infinity() : kPoison;
  }
  const std::vector<float> actual = spoiled.Run(std::nullopt);
  for (int64_t row = 0; row < product.shape.m; ++row) {
    const size_t begin = static_cast<size_t>(row * product.y_ld);
    const auto size = static_cast<size_t>(product.shape.n);
    if (row == 0 || row == 5 || row == 20) {
      for (size_t i = begin; i < begin + size; ++i) REQUIRE(!std::isfinite(actual[i]));
    } else {
      RequireSameBits(std::span(actual).subspan(begin, size), std::span(clean).subspan(begin, size),
                      "row " + std::to_string(row));
    }
  }
}

// The leading lanes of long rows, of which TMA must take no more, are as rows of their own.
TEST_CASE("a leading slice of K has the bits of rows that end there") {
  std::mt19937 rng(5);
  for (const int64_t k : {241, 242, 511, 512, 575}) {
    const Product product(rng, {6, 70, k}, false);
    Product packed = product;
    packed.w_ld = (k + 7) / 8 * 8;
    packed.w.assign(static_cast<size_t>((product.shape.n + 1) * packed.w_ld), ToBf16(0));
    for (int64_t row = 0; row < product.shape.n; ++row) {
      std::copy_n(product.w.begin() + row * product.w_ld, k, packed.w.begin() + row * packed.w_ld);
    }
    RequireSameBits(packed.Run(std::nullopt), product.Run(std::nullopt), std::to_string(k));
  }
}

TEST_CASE("weights alone decide whether the matrix units multiply") {
  const auto takes = [](DType dtype, int64_t k, int64_t ld, int64_t batch_stride, int64_t m) {
    LinearArgs args;
    args.x.rows = m;
    args.w = {nullptr, dtype, 64, k, ld};
    args.w_batch_stride = batch_stride;
    return TakesMatrixUnits(args);
  };
  for (const int64_t m : {0, 1, 64, 5000}) {
    CHECK(takes(DType::kBF16, 241, 512, 0, m));
    CHECK(takes(DType::kBF16, 241, 248, 8, m));
    CHECK_FALSE(takes(DType::kBF16, 241, 241, 0, m));
    CHECK_FALSE(takes(DType::kBF16, 241, 512, 12, m));
    CHECK_FALSE(takes(DType::kBF16, 0, 512, 0, m));
    CHECK_FALSE(takes(DType::kF16, 241, 512, 0, m));
    CHECK_FALSE(takes(DType::kF32, 241, 512, 0, m));
    CHECK_FALSE(takes(DType::kE4M3, 256, 512, 0, m));
  }
}

}  // namespace
}  // namespace latentd::cuda
