// The decode kernel's query rows and the operators on whole rows, emulated or on a device.
#include "kernels/cuda/attention_operands.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/cuda/operators.h"
#include "kernels/linear.h"
#include "tests/kernels/cuda/test_weights.h"

namespace latentd::cuda {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

struct Shape {
  int64_t tokens, heads, groups, nope, rope, width, extra = 0;
  int64_t RowLatent() const { return (width + 63) / 64 * 64; }
  int64_t OutLd() const { return (RowLatent() + rope + 7) / 8 * 8 + extra; }
  std::string Describe() const {
    return "T " + std::to_string(tokens) + " H " + std::to_string(heads) + " G " +
           std::to_string(groups) + " d_n " + std::to_string(nope) + " d_r " +
           std::to_string(rope) + " w " + std::to_string(width) + " extra " + std::to_string(extra);
  }
};

// Query rows with NaN behind each, and key matrices that lie between value rows.
struct Absorption {
  Absorption(std::mt19937& rng, const Shape& shape, DType dtype)
      : shape(shape),
        q_ld(shape.heads * (shape.nope + shape.rope) + 3),
        q(RandomFloats(rng, shape.tokens * q_ld)),
        kv_b(rng, dtype, shape.groups * (shape.nope + 5), shape.width) {
    for (size_t i = 0; i < q.size(); ++i) {
      if (static_cast<int64_t>(i) % q_ld >= q_ld - 3) q[i] = kPoison;
    }
  }
  int64_t NumRows() const { return shape.tokens * shape.heads; }
  int64_t GroupStride() const { return (shape.nope + 5) * kv_b.OnHost().ld; }

  std::vector<bf16> Absorbed() const { return Absorbed(0, shape.tokens); }
  // Of some tokens. A row behind the last one must stay as it is.
  std::vector<bf16> Absorbed(int64_t first, int64_t count) const {
    const Array device_q(q);
    const std::vector<bf16> nothing(static_cast<size_t>((count * shape.heads + 1) * shape.OutLd()),
                                    bf16{0xffff});
    const Array out(nothing);
    AbsorbQuery(nullptr, {.q = device_q.View(shape.tokens, q_ld - 3, q_ld).Rows(first, count),
                          .w_uk = kv_b.OnDevice().Rows(0, shape.nope),
                          .w_uk_group_stride = GroupStride(),
                          .num_heads = shape.heads,
                          .num_kv_groups = shape.groups,
                          .nope_dim = shape.nope,
                          .rope_dim = shape.rope,
                          .row_latent = shape.RowLatent(),
                          .out = out.data(),
                          .out_ld = shape.OutLd()});
    std::vector<bf16> rows = out.Read();
    const auto end = rows.end() - shape.OutLd();
    REQUIRE(std::all_of(end, rows.end(), [](bf16 lane) { return lane.bits == 0xffff; }));
    rows.erase(end, rows.end());
    return rows;
  }

  LinearTransposedArgs Product(const float* from, const WeightView& w, float* to) const {
    return {.x = {from, shape.tokens, shape.nope, q_ld},
            .w = w.Rows(0, shape.nope),
            .y = {to, shape.tokens, shape.width, shape.heads * shape.width},
            .batch = shape.heads,
            .x_batch_stride = shape.nope + shape.rope,
            .y_batch_stride = shape.width,
            .w_batch_stride = GroupStride(),
            .w_batch_share = shape.heads / shape.groups};
  }
  std::vector<float> ProductOnCpu() const {
    std::vector<float> y(static_cast<size_t>(NumRows() * shape.width));
    latentd::LinearTransposed({}, Product(q.data(), kv_b.OnHost(), y.data()));
    return y;
  }
  std::vector<float> ProductOnDevice() const {
    const Array x(q);
    const Array y(std::vector<float>(static_cast<size_t>(NumRows() * shape.width)));
    LinearTransposed(nullptr, Product(x.data(), kv_b.OnDevice(), y.data()));
    return y.Read();
  }
  // Rows of products, zeros, the rotary part and zeros.
  std::vector<bf16> Expected(const std::vector<float>& products) const {
    std::vector<bf16> rows(static_cast<size_t>(NumRows() * shape.OutLd()), bf16{0});
    for (int64_t row = 0; row < NumRows(); ++row) {
      bf16* lanes = rows.data() + row * shape.OutLd();
      for (int64_t j = 0; j < shape.width; ++j) {
        lanes[j] = ToBf16(products[static_cast<size_t>(row * shape.width + j)]);
      }
      const float* head =
          q.data() + row / shape.heads * q_ld + row % shape.heads * (shape.nope + shape.rope);
      for (int64_t j = 0; j < shape.rope; ++j) {
        lanes[shape.RowLatent() + j] = ToBf16(head[shape.nope + j]);
      }
    }
    return rows;
  }

  Shape shape;
  int64_t q_ld;
  std::vector<float> q;
  TestWeights kv_b;
};

// Between fixed ones, any: heads that share keys, widths and depths that fill no tile.
std::vector<Shape> Shapes() {
  std::vector<Shape> shapes = {{0, 2, 2, 16, 8, 64},    {1, 1, 1, 1, 0, 1},
                               {33, 6, 2, 33, 6, 65},   {2, 4, 4, 32, 64, 128, 64},
                               {3, 3, 1, 40, 0, 63, 8}, {5, 2, 1, 8, 16, 130}};
  std::mt19937 rng(1);
  for (int i = 0; i < 6; ++i) {
    const auto any = [&](int64_t low, int64_t high) {
      return low + static_cast<int64_t>(rng()) % (high - low + 1);
    };
    const int64_t groups = any(1, 3);
    shapes.push_back({any(1, 40), groups * any(1, 2), groups, any(1, 70), 2 * any(0, 9),
                      any(1, 150), 8 * any(0, 2)});
  }
  return shapes;
}

void RequireSameRows(const std::vector<bf16>& actual, const std::vector<bf16>& expected,
                     const std::string& what) {
  REQUIRE(actual.size() == expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    if (actual[i] == expected[i]) continue;
    FAIL(what << ": first difference at " << i << ": " << ToFloat(actual[i]) << " for "
              << ToFloat(expected[i]));
  }
}

TEST_CASE("AbsorbQuery writes a plain product's sums, the rotary part and zeros, once rounded") {
  std::mt19937 rng(2);
  for (const Shape& shape : Shapes()) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      const Absorption absorption(rng, shape, dtype);
      const std::vector<bf16> rows = absorption.Absorbed();
      const std::string what = shape.Describe() + " " + Name(dtype);
      RequireSameRows(rows, absorption.Expected(absorption.ProductOnDevice()), what);
      if (dtype != DType::kBF16) continue;
      RequireSameRows(rows, absorption.Expected(absorption.ProductOnCpu()), what + " on the CPU");
    }
  }
}

TEST_CASE("a token's query rows have the same bits alone and in any batch") {
  std::mt19937 rng(3);
  const Shape shape = {40, 2, 1, 45, 6, 70};
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const Absorption absorption(rng, shape, dtype);
    const std::vector<bf16> together = absorption.Absorbed();
    for (const int64_t count : {int64_t{1}, int64_t{35}}) {
      for (const int64_t first : {int64_t{0}, int64_t{5}}) {
        const auto begin = together.begin() + first * shape.heads * shape.OutLd();
        RequireSameRows(absorption.Absorbed(first, count),
                        {begin, begin + count * shape.heads * shape.OutLd()},
                        std::to_string(count) + " from " + std::to_string(first));
      }
    }
  }
}

TEST_CASE("lanes past the width are zero whatever the query holds") {
  std::mt19937 rng(5);
  const Shape shape = {2, 2, 1, 20, 4, 70, 8};
  Absorption absorption(rng, shape, DType::kBF16);
  absorption.q[3] = kPoison;
  const std::vector<bf16> rows = absorption.Absorbed();
  CHECK(std::isnan(ToFloat(rows[69])));
  for (int64_t row = 0; row < absorption.NumRows(); ++row) {
    for (int64_t lane = 70; lane < shape.OutLd(); ++lane) {
      if (lane >= 128 && lane < 132) continue;  // the rotary part
      INFO("row " << row << " lane " << lane);
      CHECK(rows[static_cast<size_t>(row * shape.OutLd() + lane)].bits == 0);
    }
  }
}

TEST_CASE("ScaleRows multiplies every row by its factor, GatherRows takes rows out") {
  std::mt19937 rng(4);
  const int64_t rows = 9, cols = 70, ld = 73;
  std::vector<float> x = RandomFloats(rng, rows * ld);
  for (int64_t i = 0; i < rows * ld; ++i) {
    if (i % ld >= cols) x[static_cast<size_t>(i)] = kPoison;
  }
  const std::vector<float> factors = RandomFloats(rng, rows);
  std::vector<float> expected = x;
  for (int64_t i = 0; i < rows * ld; ++i) {
    if (i % ld < cols) expected[static_cast<size_t>(i)] *= factors[static_cast<size_t>(i / ld)];
  }
  const Array scaled(x), device_factors(factors), from(x);
  ScaleRows(nullptr, scaled.View(rows, cols, ld), device_factors.data());
  RequireSameBits(scaled.Read(), expected, "ScaleRows");

  for (const std::vector<int32_t>& picked :
       {std::vector<int32_t>{8, 0, 3, 3, 8, 1, 2, 7, 6, 5, 4}, std::vector<int32_t>{}}) {
    const Array device_picked(picked);
    const auto count = static_cast<int64_t>(picked.size());
    const Array out(std::vector<float>(static_cast<size_t>(count * (cols + 1)), kPoison));
    GatherRows(nullptr, from.View(rows, cols, ld), device_picked.data(),
               out.View(count, cols, cols + 1));
    std::vector<float> gathered;
    for (const int32_t row : picked) {
      gathered.insert(gathered.end(), x.begin() + row * ld, x.begin() + row * ld + cols);
      gathered.push_back(kPoison);
    }
    RequireSameBits(out.Read(), gathered, "GatherRows");
  }
}

}  // namespace
}  // namespace latentd::cuda
