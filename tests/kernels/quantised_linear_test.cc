// Quantised weights on every path, against a plain dequantisation in double.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "kernels/core/thread_pool.h"
#include "kernels/cpu/table.h"
#include "kernels/dequantise.h"
#include "kernels/linear.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

// The format's definition, by its fields.
double E4M3(int byte) {
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  if (exponent == 15 && mantissa == 7) return std::nan("");
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return byte & 0x80 ? -magnitude : magnitude;
}

// A matrix with the room of `gap` poisoned elements behind every row, at an odd address, and its
// values. Blocks begin `first_row` rows before the view, as in a slice of a larger matrix.
struct Quantised {
  Quantised(std::mt19937& rng, DType dtype, int64_t rows, int64_t cols, DType scale_dtype,
            int64_t first_row = 0)
      : dtype(dtype),
        rows(rows),
        cols(cols),
        ld((cols + 7) / 8 * 8 + 8),
        bytes(1 + BytesOf(dtype, rows * ld)),
        values(rows * cols) {
    block_rows = dtype == DType::kE4M3 ? 128 : 1;
    block_cols = dtype == DType::kE4M3 ? 128 : 32;
    scales.first_row = first_row;
    scales.ld = (cols + block_cols - 1) / block_cols;
    scales.dtype = scale_dtype;
    scales.block_rows = block_rows;
    scales.block_cols = block_cols;
    FillScales(rng, (first_row + rows + block_rows - 1) / block_rows * scales.ld);
    std::uniform_int_distribution<int> any(0, 255);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(0xff);  // e4m3: NaN
    for (int64_t n = 0; n < rows; ++n) {
      for (int64_t k = 0; k < cols; ++k) {
        const int64_t scale = (first_row + n) / block_rows * scales.ld + k / block_cols;
        values[n * cols + k] = Set(n * ld + k, any(rng)) * scale_values[scale];
      }
    }
  }

  void FillScales(std::mt19937& rng, int64_t count) {
    const std::vector<float> random = RandomFloats(rng, count, 3);
    for (const float value : random) {
      if (scales.dtype == DType::kF32) {
        words.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value)));
        words.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
        scale_values.push_back(value);
      } else {
        words.push_back(ToBf16(value).bits);
        scale_values.push_back(RoundToBf16(value));
      }
    }
  }

  double Set(int64_t i, int random) {
    if (dtype == DType::kE4M3) {
      if ((random & 0x7f) == 0x7f) random ^= 1;  // NaN: a test of its own
      bytes[1 + i] = static_cast<std::byte>(random);
      return E4M3(random);
    }
    const int half = random & 15;
    std::byte& byte = bytes[1 + i / 2];
    byte = i % 2 == 0 ? (byte & std::byte{0xf0}) | static_cast<std::byte>(half)
                      : (byte & std::byte{0x0f}) | static_cast<std::byte>(half << 4);
    return half - 8;
  }

  WeightView View() const {
    WeightView view{bytes.data() + 1, dtype, rows, cols, ld, scales};
    view.scales.data = words.data();
    return view;
  }

  DType dtype;
  int64_t rows, cols, ld, block_rows, block_cols;
  WeightScales scales;
  std::vector<std::byte> bytes;
  std::vector<uint16_t> words;  // the scales as stored
  std::vector<double> scale_values;
  std::vector<double> values;  // [rows, cols]
};

std::string Describe(CpuPath path, const WeightView& w, int64_t m) {
  return std::string(Name(path)) + (w.dtype == DType::kE4M3 ? " e4m3" : " int4") + " M " +
         std::to_string(m) + " N " + std::to_string(w.rows) + " K " + std::to_string(w.cols) +
         " first row " + std::to_string(w.scales.first_row);
}

// Every path's product against the one in double: K + 1 roundings of the sum, and one of each
// weight.
void RequireExact(std::mt19937& rng, const Quantised& q, int64_t m) {
  const std::vector<float> x = RandomFloats(rng, m * q.cols);
  const std::vector<float> bias = RandomFloats(rng, q.rows);
  std::vector<double> expected, bound;
  for (int64_t i = 0; i < m * q.rows; ++i) {
    const int64_t n = i % q.rows;
    double sum = bias[n], magnitude = std::fabs(bias[n]);
    for (int64_t k = 0; k < q.cols; ++k) {
      const double term = x[i / q.rows * q.cols + k] * q.values[n * q.cols + k];
      sum += term;
      magnitude += std::fabs(term);
    }
    expected.push_back(sum);
    bound.push_back((static_cast<double>(q.cols) + 3) * kHalfUlp * magnitude);
  }
  for (const CpuPath path : RunnablePaths()) {
    std::vector<float> y(m * q.rows, kPoison);
    Linear({path, nullptr},
           {.x = View(x, m, q.cols), .w = q.View(), .y = View(y, m, q.rows), .bias = bias.data()});
    RequireWithin(y, expected, bound, Describe(path, q.View(), m));
  }
}

// Any rows, any number of tokens and threads: the bits of each output alone.
void RequireRowsAsAlone(std::mt19937& rng, const Quantised& q, const std::vector<int64_t>& ms) {
  ThreadPool two(2);
  const int64_t n = q.rows, max_m = ms.back();
  const std::vector<float> x = RandomFloats(rng, max_m * q.cols);
  for (const CpuPath path : RunnablePaths()) {
    std::vector<float> alone(max_m * n);
    for (int64_t i = 0; i < max_m * n; ++i) {
      Linear({path, nullptr}, {.x = View(x, max_m, q.cols).Rows(i / n, 1),
                               .w = q.View().Rows(i % n, 1),
                               .y = {&alone[i], 1, 1, 1}});
    }
    for (const int64_t m : ms) {
      for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &two}) {
        std::vector<float> y(m * n);
        Linear({path, pool},
               {.x = View(x, max_m, q.cols).Rows(0, m), .w = q.View(), .y = View(y, m, n)});
        RequireSameBits(y, std::span(alone).first(m * n), Describe(path, q.View(), m));
      }
    }
  }
}

TEST_CASE("an e4m3 is worth what its fields say") {
  for (int byte = 0; byte < 256; ++byte) {
    const double expected = E4M3(byte);
    const float value = ToFloat(e4m3{static_cast<uint8_t>(byte)});
    INFO("byte " << byte);
    if (std::isnan(expected)) {
      CHECK(std::isnan(value));
    } else {
      CHECK(static_cast<double>(value) == expected);
      CHECK(std::signbit(value) == (byte >= 128));
    }
  }
}

TEST_CASE("a dequantised row is the rounded product, to the bit on every path") {
  std::mt19937 rng(6);
  for (const DType dtype : {DType::kE4M3, DType::kInt4}) {
    for (const int64_t cols : {1, 7, 8, 9, 31, 32, 33, 127, 128, 129, 300}) {
      const Quantised q(rng, dtype, 3, cols, cols % 2 == 0 ? DType::kF32 : DType::kBF16);
      for (int64_t n = 0; n < q.rows; ++n) {
        std::vector<float> expected(cols);
        for (int64_t k = 0; k < cols; ++k) {
          expected[k] = static_cast<float>(q.values[n * cols + k]);
        }
        std::vector<float> plain(cols, kPoison);
        DequantiseRow(q.View(), n, plain.data());
        RequireSameBits(plain, expected, Describe(CpuPath::kScalar, q.View(), 0));
        for (const CpuPath path : RunnablePaths()) {
          const CpuKernels* kernels = KernelsOf(path);
          if (kernels == nullptr) continue;
          std::vector<float> scales(ScalesPerRow(q.View())), row(cols + 1, kPoison);
          (dtype == DType::kE4M3 ? kernels->dequantise_e4m3 : kernels->dequantise_int4)(
              q.View().Rows(n, 1).data, RowScales(q.View(), n, scales.data()), q.block_cols, cols,
              row.data());
          RequireSameBits(std::span(row).first(cols), expected, Describe(path, q.View(), 0));
          CHECK(std::isnan(row[cols]));
        }
      }
    }
  }
}

TEST_CASE("an e4m3 NaN and scales that are no numbers come through, and nothing else is touched") {
  std::mt19937 rng(7);
  Quantised q(rng, DType::kE4M3, 4, 300, DType::kF32);
  q.bytes[1 + q.ld + 17] = std::byte{0xff};
  const float infinite = std::numeric_limits<float>::infinity();
  std::vector<float> scales = {1, 2, kPoison, infinite, 1, 1};
  WeightView w = q.View();
  w.scales.data = scales.data();
  for (const CpuPath path : RunnablePaths()) {
    std::vector<float> x(300), y(4);
    x[17] = 1;
    const auto run = [&] {
      Linear({path, nullptr}, {.x = View(x, 1, 300), .w = w, .y = View(y, 1, 4)});
    };
    run();  // 0 · NaN is NaN: the third scale reaches every row
    for (const float value : y) CHECK(std::isnan(value));
    w.cols = 256;
    x.resize(256);
    Linear({path, nullptr}, {.x = View(x, 1, 256), .w = w, .y = View(y, 1, 4)});
    CHECK_FALSE(std::isnan(y[0]));
    CHECK(std::isnan(y[1]));
    CHECK_FALSE(std::isnan(y[2]));
    x.resize(300);
    w.cols = 300;
  }
}

TEST_CASE("quantised products are within the bound, ragged edges too") {
  std::mt19937 rng(8);
  for (const DType dtype : {DType::kE4M3, DType::kInt4}) {
    RequireExact(rng, {rng, dtype, 200, 300, DType::kF32}, 3);
    RequireExact(rng, {rng, dtype, 129, 128, DType::kBF16}, 1);
    RequireExact(rng, {rng, dtype, 127, 129, DType::kF32}, 2);
    RequireExact(rng, {rng, dtype, 5, 2100, DType::kBF16}, 4);      // two blocks of K
    RequireExact(rng, {rng, dtype, 60, 288, DType::kF32, 100}, 5);  // a slice across two blocks
    RequireExact(rng, {rng, dtype, 60, 288, DType::kF32, 128}, 5);  // one that begins with one
    RequireExact(rng, {rng, dtype, 3, 64, DType::kF32}, 200);       // blocks of tokens
    RequireExact(rng, {rng, dtype, 1, 1, DType::kF32}, 1);
  }
}

TEST_CASE("quantised outputs have bits that depend on K and the path alone") {
  std::mt19937 rng(9);
  for (const DType dtype : {DType::kE4M3, DType::kInt4}) {
    RequireRowsAsAlone(rng, {rng, dtype, 43, 160, DType::kF32}, {1, 2, 3, 4, 5, 7, 31, 64, 65});
    RequireRowsAsAlone(rng, {rng, dtype, 11, 2100, DType::kBF16}, {1, 2, 3, 5, 8});
    RequireRowsAsAlone(rng, {rng, dtype, 9, 64, DType::kF32}, {191, 192, 193, 400});
    RequireRowsAsAlone(rng, {rng, dtype, 1300, 32, DType::kF32, 77}, {1, 4});
  }
}

TEST_CASE("random quantised shapes: within the bound, slices and batches as alone") {
  std::mt19937 rng(10);
  const auto up_to = [&rng](int64_t max) {
    return std::uniform_int_distribution<int64_t>(1, max)(rng);
  };
  for (int round = 0; round < 40; ++round) {
    const DType dtype = up_to(2) == 1 ? DType::kE4M3 : DType::kInt4;
    const DType scale_dtype = up_to(2) == 1 ? DType::kF32 : DType::kBF16;
    const Quantised q(rng, dtype, up_to(300), up_to(400), scale_dtype, up_to(200) - 1);
    const int64_t m = up_to(9);
    RequireExact(rng, q, m);
    // The leading columns of some rows are the product of the matrix cut there.
    const int64_t first = up_to(q.rows) - 1, count = up_to(q.rows - first), width = up_to(q.cols);
    const std::vector<float> x = RandomFloats(rng, m * width);
    std::vector<float> dense(count * width);
    for (int64_t i = 0; i < count * width; ++i) {
      dense[i] = static_cast<float>(q.values[(first + i / width) * q.cols + i % width]);
    }
    for (const CpuPath path : RunnablePaths()) {
      std::vector<float> y(m * count), expected(m * count);
      Linear({path, nullptr}, {.x = View(x, m, width),
                               .w = q.View().Rows(first, count).Leading(width),
                               .y = View(y, m, count)});
      Linear({path, nullptr}, {.x = View(x, m, width),
                               .w = {dense.data(), DType::kF32, count, width, width},
                               .y = View(expected, m, count)});
      RequireSameBits(y, expected, Describe(path, q.View(), m));
    }
  }
}

}  // namespace
}  // namespace latentd
