// What relaxed products are made of, emulated or on a device: rows on their way to a library's
// product and from it, and the product itself. On a device without cuBLASLt the last is left out.
#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/cuda/blaslt.h"
#include "kernels/cuda/library_rows.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr bf16 kUntouched{0xffff};

// Random rows with NaN behind the first `cols` of every `pitch`.
std::vector<float> RowsWithGaps(std::mt19937& rng, int64_t count, int64_t pitch, int64_t cols) {
  std::vector<float> x = RandomFloats(rng, count);
  for (int64_t i = 0; i < count; ++i) {
    if (i % pitch >= cols) x[static_cast<size_t>(i)] = kPoison;
  }
  return x;
}

TEST_CASE("RoundRows rounds each head's rows and writes zeros behind and below them", "[small]") {
  std::mt19937 rng(1);
  for (const auto& [tokens, k, batch, more] : std::vector<std::array<int64_t, 4>>{
           {1, 1, 1, 0}, {33, 70, 1, 2}, {5, 13, 3, 0}, {2, 64, 2, 1}, {0, 8, 2, 0}}) {
    CAPTURE(tokens, k, batch, more);
    const int64_t pitch = k + 3, x_ld = batch * pitch, ld = RoundedLd(k) + 8;
    const int64_t out_rows = tokens + more;
    const std::vector<float> x = RowsWithGaps(rng, tokens * x_ld, pitch, k);
    const Array from(x);
    const Array out(
        std::vector<bf16>(static_cast<size_t>((batch * out_rows + 1) * ld), kUntouched));
    RoundRows(nullptr, {.x = from.View(tokens, k, x_ld),
                        .batch = batch,
                        .x_batch_stride = pitch,
                        .out = out.data(),
                        .out_ld = ld,
                        .more_rows = more});
    const std::vector<bf16> rows = out.Read();
    for (int64_t i = 0; i < static_cast<int64_t>(rows.size()); ++i) {
      const int64_t b = i / ld / std::max<int64_t>(out_rows, 1), t = i / ld - b * out_rows;
      bf16 expected = i % ld < k && b < batch && t < tokens
                          ? ToBf16(x[static_cast<size_t>(t * x_ld + b * pitch + i % ld)])
                          : bf16{0};
      if (i >= batch * out_rows * ld) expected = kUntouched;
      INFO("head " << b << " token " << t << " lane " << i % ld);
      REQUIRE(rows[static_cast<size_t>(i)].bits == expected.bits);
    }
  }
}

TEST_CASE("PackQuery writes sums, the rotary part and zeros, once rounded", "[small]") {
  std::mt19937 rng(2);
  const int64_t tokens = 5, heads = 3, nope = 7, width = 70, row_latent = 128;
  for (const int64_t rope : {0, 6}) {
    const int64_t head_size = nope + rope, q_ld = heads * head_size + 2, out_ld = 144;
    const std::vector<float> q = RandomFloats(rng, tokens * q_ld);
    const std::vector<float> sums =
        RowsWithGaps(rng, tokens * heads * row_latent, row_latent, width);
    const Array device_q(q), device_sums(sums);
    const Array out(
        std::vector<bf16>(static_cast<size_t>((tokens * heads + 1) * out_ld), kUntouched));
    PackQuery(nullptr,
              {.q = device_q.View(tokens, heads * head_size, q_ld),
               .w_uk = {nullptr, DType::kBF16, nope, width, width},
               .num_heads = heads,
               .num_kv_groups = 1,
               .nope_dim = nope,
               .rope_dim = rope,
               .row_latent = row_latent,
               .out = out.data(),
               .out_ld = out_ld},
              device_sums.data(), row_latent);
    const std::vector<bf16> rows = out.Read();
    for (int64_t i = 0; i < static_cast<int64_t>(rows.size()); ++i) {
      const int64_t row = i / out_ld, lane = i % out_ld;
      bf16 expected{0};
      if (lane < width)
        expected = ToBf16(sums[static_cast<size_t>(row * row_latent + lane) % sums.size()]);
      if (lane >= row_latent && lane < row_latent + rope && row < tokens * heads) {
        expected = ToBf16(q[static_cast<size_t>(row / heads * q_ld + row % heads * head_size +
                                                nope + lane - row_latent)]);
      }
      if (row == tokens * heads) expected = kUntouched;
      INFO("rope " << rope << " row " << row << " lane " << lane);
      REQUIRE(rows[static_cast<size_t>(i)].bits == expected.bits);
    }
  }
}

struct Shape {
  int64_t tokens, n, k;
  bool transposed = false;
  int64_t batch = 1, share = 1;
  std::string Describe() const {
    return "T " + std::to_string(tokens) + " N " + std::to_string(n) + " K " + std::to_string(k) +
           (transposed ? " transposed, batch " : " batch ") + std::to_string(batch) + " share " +
           std::to_string(share);
  }
};

// Operands of a product by the library; between rows of x and w NaN, between those of y what was
// there.
struct Operands {
  Operands(std::mt19937& rng, const Shape& shape)
      : s(shape),
        w_rows(s.transposed ? s.k : s.n),
        w_cols(s.transposed ? s.n : s.k),
        w_ld((w_cols + 8) / 8 * 8),
        w_stride((w_rows + 1) * w_ld),
        y_stride((s.n + 7) / 4 * 4),
        y_ld(s.batch * y_stride) {
    const int64_t ld = RoundedLd(s.k);
    x.assign(static_cast<size_t>(s.batch * s.tokens * ld), kUntouched);
    for (size_t i = 0; i < x.size(); ++i) {
      if (static_cast<int64_t>(i) % ld < s.k) x[i] = ToBf16(RandomFloats(rng, 1)[0]);
    }
    w.assign(static_cast<size_t>((s.batch / s.share) * w_stride), kUntouched);
    for (size_t i = 0; i < w.size(); ++i) {
      const auto place = static_cast<int64_t>(i);
      if (place % w_ld < w_cols && place % w_stride / w_ld < w_rows) {
        w[i] = ToBf16(RandomFloats(rng, 1)[0]);
      }
    }
  }

  // The product as the operators name it; x is the one that was rounded.
  MatrixProduct Product(const bf16* weights, float* y) const {
    if (s.transposed) return ArgsOf<LinearTransposedArgs>(weights, y);
    return ArgsOf<LinearArgs>(weights, y);
  }
  template <typename Args>
  Args ArgsOf(const bf16* weights, float* y) const {
    Args args;
    args.x = {nullptr, s.tokens, s.k, s.k};
    args.w = {weights, DType::kBF16, w_rows, w_cols, w_ld};
    args.y = {y, s.tokens, s.n, y_ld};
    args.batch = s.batch;
    args.y_batch_stride = y_stride;
    args.w_batch_stride = w_stride;
    args.w_batch_share = s.share;
    return args;
  }

  // {Σ x·w, Σ |x·w|}
  std::pair<double, double> Exact(int64_t b, int64_t t, int64_t n) const {
    double sum = 0, size = 0;
    for (int64_t k = 0; k < s.k; ++k) {
      const int64_t place = s.transposed ? k * w_ld + n : n * w_ld + k;
      const double term =
          static_cast<double>(
              ToFloat(x[static_cast<size_t>((b * s.tokens + t) * RoundedLd(s.k) + k)])) *
          static_cast<double>(ToFloat(w[static_cast<size_t>(b / s.share * w_stride + place)]));
      sum += term;
      size += std::abs(term);
    }
    return {sum, size};
  }

  Shape s;
  int64_t w_rows, w_cols, w_ld, w_stride, y_stride, y_ld;
  std::vector<bf16> x, w;
};

// Where the library's workspace may begin.
std::byte* Aligned(const Array<uint8_t>& memory) {
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return reinterpret_cast<std::byte*>((address + 255) / 256 * 256);
}

std::vector<Shape> Shapes() {
  return {{1, 64, 64},
          {8, 96, 128},
          {33, 130, 71},
          {64, 8, 512},
          {3, 40, 24, true},
          {5, 70, 12, true, 6, 2},
          {4, 16, 40, false, 6, 3},
          {2, 10, 65, false, 4},
          {7, 5, 1},
          {0, 8, 8}};
}

TEST_CASE("the library's products are within the bound of fp32 sums in any order") {
  std::string why;
  const auto library = BlasLt::TryMake(&why);
  if (library == nullptr) {
    WARN("cuBLASLt is not there, its products are left out: " << why);
    REQUIRE(OnDevice());
    return;
  }
  std::mt19937 rng(3);
  const Array workspace(std::vector<uint8_t>(BlasLt::kWorkspaceBytes + 256));
  for (const Shape& shape : Shapes()) {
    const Operands operands(rng, shape);
    const Array x(operands.x), w(operands.w);
    const Array y(
        std::vector<float>(static_cast<size_t>(shape.tokens * operands.y_ld + 1), kPoison));
    const MatrixProduct product = operands.Product(w.data(), y.data());
    REQUIRE(TakesLibrary(product));
    bool is_known = true;
    for (int round = 0; round < 2; ++round) {  // chosen anew, and remembered
      for (int64_t i = 0; i < shape.share; ++i) {
        const LibraryProduct part = LibraryProductOf(product, x.data(), i);
        is_known = is_known && library->Knows(part.shape);
        if (is_known) library->Multiply(nullptr, part, Aligned(workspace));
      }
    }
    if (!is_known) {  // its right
      WARN("cuBLASLt has no algorithm for " << shape.Describe());
      REQUIRE(OnDevice());
      continue;
    }
    const std::vector<float> got = y.Read();
    // An fp32 sum of K exact products loses at most a unit in the last place (2^-23, where it is
    // cut and not rounded) of a partial sum with each addition.
    const double unit = static_cast<double>(shape.k) * std::ldexp(1, -23);
    for (int64_t place = 0; place < static_cast<int64_t>(got.size()); ++place) {
      const int64_t t = place / operands.y_ld, b = place % operands.y_ld / operands.y_stride;
      const int64_t n = place % operands.y_ld % operands.y_stride;
      const auto value = static_cast<double>(got[static_cast<size_t>(place)]);
      INFO(shape.Describe() << ": head " << b << " token " << t << " output " << n);
      if (t == shape.tokens || n >= shape.n) {
        REQUIRE(std::isnan(value));  // not an output
        continue;
      }
      const auto [exact, size] = operands.Exact(b, t, n);
      INFO(value << " for " << exact);
      REQUIRE(std::abs(value - exact) <= unit * size);
    }
  }
}

TEST_CASE("a shape that the library does not know is left to others") {
  if (OnDevice()) return;  // which those are is the library's
  std::string why;
  const auto library = BlasLt::TryMake(&why);
  alignas(256) const std::array<bf16, 64> operands{};
  alignas(256) std::array<float, 64> y;
  LinearArgs args{.x = {nullptr, 2, 8, 8},
                  .w = {operands.data(), DType::kBF16, 4, 8, 8},
                  .y = {y.data(), 2, 4, 4}};
  const auto is_known = [&] {
    return library->Knows(LibraryProductOf(args, operands.data(), 0).shape);
  };
  CHECK(is_known());
  args.y.data += 1;
  CHECK_FALSE(is_known());
  args.x.rows = 0;  // nothing to compute
  CHECK(is_known());
}

TEST_CASE("which products a library may have") {
  const std::vector<bf16> weights(64);
  std::vector<float> y(64);
  LinearArgs args{.x = {nullptr, 2, 8, 8},
                  .w = {weights.data(), DType::kBF16, 4, 8, 8},
                  .y = {y.data(), 2, 4, 4}};
  CHECK(TakesLibrary(args));
  LinearArgs other = args;
  other.bias = y.data();
  CHECK_FALSE(TakesLibrary(other));
  other = args;
  other.w.dtype = DType::kF16;
  CHECK_FALSE(TakesLibrary(other));
  other = args;
  other.w.ld = 12;  // rows that begin at odd places
  CHECK_FALSE(TakesLibrary(other));
}

TEST_CASE("alignments are powers of two that divide the address") {
  const auto at = [](uintptr_t address) { return AlignmentOf(reinterpret_cast<void*>(address)); };
  CHECK(at(0x1000) == 256);
  CHECK(at(0x1100) == 256);
  CHECK(at(0x1080) == 128);
  CHECK(at(0x1004) == 4);
  CHECK(at(0x1003) == 1);
}

}  // namespace
}  // namespace latentd::cuda
