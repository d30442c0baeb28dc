// The packing and the loops of the amx path, over its instruction as Intel's manual writes it out
// (TDPBF16PS; denormals aside, which no input here makes).
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "kernels/core/thread_pool.h"
#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/linear_tiled.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

struct Register {
  size_t rows = 0, row_bytes = 0;
  std::byte data[16][64] = {};

  template <typename T>
  T& At(size_t row, size_t i) {
    return reinterpret_cast<T*>(data[row])[i];
  }
};

struct EmulatedTiles {
  static inline thread_local Register registers[8];
  // The weights of the product in progress, and whether a load that began in them left them.
  static inline const bf16 *begin = nullptr, *end = nullptr;
  static inline std::atomic<bool> has_left = false;

  static void Configure(int64_t weight_rows, int64_t tokens) {
    const auto rows = static_cast<size_t>(weight_rows), bytes = static_cast<size_t>(tokens) * 4;
    for (int i = 0; i < 4; ++i) registers[i] = {rows, bytes, {}};
    for (int i = 4; i < 6; ++i) registers[i] = {rows, 64, {}};
    registers[6] = {16, bytes, {}};
  }
  static void Release() {
    for (Register& r : registers) r = {};
  }
  template <int kTile>
  static void Zero() {
    std::memset(registers[kTile].data, 0, sizeof(Register::data));
  }
  template <int kTile>
  static void Load(const uint16_t* from, int64_t row_bytes) {
    Register& r = registers[kTile];
    const auto* w = reinterpret_cast<const bf16*>(from);
    const int64_t last = static_cast<int64_t>(r.rows) - 1;
    if (w >= begin && w < end && (end - w) * 2 < last * row_bytes + 64) {
      has_left = true;
      return;
    }
    for (size_t i = 0; i < r.rows; ++i) {
      std::memcpy(r.data[i],
                  reinterpret_cast<const char*>(from) + static_cast<int64_t>(i) * row_bytes,
                  r.row_bytes);
    }
  }
  template <int kTile>
  static void Store(float* to, int64_t row_bytes) {
    const Register& r = registers[kTile];
    for (size_t i = 0; i < r.rows; ++i) {
      std::memcpy(reinterpret_cast<char*>(to) + static_cast<int64_t>(i) * row_bytes, r.data[i],
                  r.row_bytes);
    }
  }
  template <int kSum, int kWeights, int kTokens>
  static void MultiplyAdd() {
    Register &c = registers[kSum], &a = registers[kWeights], &b = registers[kTokens];
    // What the instruction faults on.
    if (c.rows == 0 || a.rows != c.rows || a.row_bytes != b.rows * 4 || b.row_bytes != c.row_bytes)
      throw std::logic_error("tile shapes");
    for (size_t m = 0; m < c.rows; ++m) {
      for (size_t n = 0; n < c.row_bytes / 4; ++n) {
        float sums[2] = {0, 0};
        for (size_t k = 0; k < a.row_bytes / 4; ++k) {
          for (size_t i = 0; i < 2; ++i) {
            sums[i] = std::fmaf(ToFloat(a.At<bf16>(m, 2 * k + i)),
                                ToFloat(b.At<bf16>(k, 2 * n + i)), sums[i]);
          }
        }
        c.At<float>(m, n) += sums[0] + sums[1];
      }
    }
  }
  static void Round(const float* from, uint16_t* to) {
    for (int i = 0; i < 32; ++i) to[i] = ToBf16(from[i]).bits;
  }
};

// One output in the order that amx_tile.h states, written down without tiles.
float Stated(const float* x, const bf16* w, int64_t count) {
  float y = 0;
  for (int64_t k0 = 0; k0 < count; k0 += kDotBlock) {
    float block = 0;
    for (int64_t k = k0; k < std::min(count, k0 + kDotBlock); k += 32) {
      float sums[2] = {0, 0};
      for (int64_t i = k; i < std::min(count, k + 32); ++i) {
        sums[i % 2] = std::fmaf(ToFloat(w[i]), RoundToBf16(x[i]), sums[i % 2]);
      }
      block += sums[0] + sums[1];
    }
    y = k0 == 0 ? block : y + block;
  }
  return y;
}

}  // namespace

TEST_CASE("amx: every output is the stated sum, whatever the rows and tokens", "[amx]") {
  const int64_t k = GENERATE(1, 32, 77, 2048, 2050, 4130);
  const int64_t num_rows = GENERATE(1, 16, 21, 64, 150);
  std::mt19937 rng(1);
  CpuKernels kernels;
  kernels.dot[static_cast<int>(DType::kBF16)] = AmxDotKernels<EmulatedTiles>();
  ThreadPool pool(2);
  const Context context{CpuPath::kAmx, &pool};
  std::vector<float> w_values = RandomFloats(rng, num_rows * k), bias = RandomFloats(rng, num_rows);
  std::vector<bf16> w(w_values.size());
  std::transform(w_values.begin(), w_values.end(), w.begin(), ToBf16);
  EmulatedTiles::begin = w.data();
  EmulatedTiles::end = w.data() + w.size();
  EmulatedTiles::has_left = false;
  for (const int64_t num_tokens : {1, 2, 16, 19, 33}) {
    INFO("k " << k << ", rows " << num_rows << ", tokens " << num_tokens);
    const std::vector<float> x = RandomFloats(rng, num_tokens * k);
    std::vector<float> y(static_cast<size_t>(num_tokens * num_rows)), stated;
    LinearTiled(context, kernels,
                {.x = View(x, num_tokens, k),
                 .w = {w.data(), DType::kBF16, num_rows, k, k},
                 .y = View(y, num_tokens, num_rows),
                 .bias = bias.data()});
    std::vector<double> truth, bound;
    for (int64_t t = 0; t < num_tokens; ++t) {
      for (int64_t n = 0; n < num_rows; ++n) {
        const bf16* row = w.data() + n * k;
        stated.push_back(Stated(x.data() + t * k, row, k) + bias[static_cast<size_t>(n)]);
        double sum = bias[static_cast<size_t>(n)], size = std::fabs(sum);
        for (int64_t i = 0; i < k; ++i) {
          const double product =
              static_cast<double>(ToFloat(row[i])) * RoundToBf16(x[static_cast<size_t>(t * k + i)]);
          sum += product;
          size += std::fabs(product);
        }
        truth.push_back(sum);
        // A product meets one rounding for each term of its half step, of its block and of y.
        const auto roundings = static_cast<double>(16 + 1 + kDotBlock / 32 + k / kDotBlock + 2);
        bound.push_back(roundings * kHalfUlp * 1.001 * size);
      }
    }
    REQUIRE_FALSE(EmulatedTiles::has_left);
    RequireSameBits(y, stated, "stated order");
    RequireWithin(y, truth, bound, "exact sum");
  }
}

TEST_CASE("amx is taken by name alone, and only where the CPU has it", "[amx]") {
  CHECK(ParseCpuPath("amx") == CpuPath::kAmx);
  CHECK(BestCpuPath() != CpuPath::kAmx);
  if (Supported(CpuPath::kAmx)) CHECK(Supported(CpuPath::kAvx512Bf16));
}

}  // namespace latentd
