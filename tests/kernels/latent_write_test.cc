// What the cache holds of a token: bf16 or int8 latents, rotary key, alphas.
#include "kernels/latent_write.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/core/thread_pool.h"
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

TEST_CASE("LatentWrite fills a slot's row and alphas and nothing else") {
  std::mt19937 rng(6);
  const int64_t tokens = 90, width = 70, row_latent = 128, rope_dim = 6, groups = 3;
  const int64_t row_elements = 136;  // 128 + 6 rounded up to 16 bytes
  const int64_t pitch = row_elements + 8;
  const std::vector<float> c = RandomFloats(rng, tokens * width);
  const std::vector<float> k_rope = RandomFloats(rng, tokens * rope_dim);
  const std::vector<float> alphas = RandomFloats(rng, tokens * groups);
  OnEveryContext([&](const Context& context) {
    std::vector<uint16_t> rows(tokens * pitch, 0xffff);
    std::vector<float> written(tokens * groups, kPoison);
    std::vector<LatentSlot> slots(tokens);
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t slot = (t * 7) % tokens;  // tokens go where they are told
      slots[t] = {reinterpret_cast<std::byte*>(&rows[slot * pitch]), &written[slot * groups],
                  nullptr};
    }
    LatentWrite(context, {.c = View(c, tokens, width),
                          .k_rope = View(k_rope, tokens, rope_dim),
                          .alphas = View(alphas, tokens, groups),
                          .scales = nullptr,
                          .row_latent = row_latent,
                          .slots = slots});
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t slot = (t * 7) % tokens;
      for (int64_t j = 0; j < pitch; ++j) {
        uint16_t expected = 0;
        if (j < width) expected = ToBf16(c[t * width + j]).bits;
        if (j >= row_latent && j < row_latent + rope_dim) {
          expected = ToBf16(k_rope[t * rope_dim + j - row_latent]).bits;
        }
        if (j >= row_elements) expected = 0xffff;
        if (rows[slot * pitch + j] != expected) FAIL("token " << t << " lane " << j);
      }
      for (int64_t g = 0; g < groups; ++g)
        REQUIRE(written[slot * groups + g] == alphas[t * groups + g]);
    }
  });
}

TEST_CASE("LatentWrite without rotary part and alphas") {
  const std::vector<float> c(64, 1.5f);
  std::vector<uint16_t> row(72, 0xffff);
  const LatentSlot slot = {reinterpret_cast<std::byte*>(row.data()), nullptr, nullptr};
  LatentWrite({}, {.c = View(c, 1, 64),
                   .k_rope = {},
                   .alphas = {},
                   .scales = nullptr,
                   .row_latent = 64,
                   .slots = {&slot, 1}});
  CHECK(std::all_of(row.begin(), row.begin() + 64,
                    [](uint16_t v) { return v == ToBf16(1.5f).bits; }));
  CHECK(std::all_of(row.begin() + 64, row.end(), [](uint16_t v) { return v == 0xffff; }));
}

// Whole numbers within half a step: one rounding of 127 / largest, one of the product and one of
// the scale move the half by 3 · 127 half-ulps of a step at most, as does the comparison in double.
TEST_CASE("QuantiseLatents rounds each row to steps of its own largest magnitude") {
  std::mt19937 rng(8);
  for (const int64_t cols : {1, 7, 64, 100, 512}) {
    const int64_t rows = 90, ld = cols + 3;
    std::vector<float> x = RandomFloats(rng, rows * ld, 3);
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t j = 0; j < cols; ++j) x[t * ld + j] *= std::ldexp(1.0f, static_cast<int>(t % 9));
      std::fill_n(&x[t * ld + cols], 3, 1e9f);
    }
    OnEveryContext([&](const Context& context) {
      std::vector<float> c = x, scales(rows, kPoison);
      QuantiseLatents(context, {c.data(), rows, cols, ld}, scales.data());
      for (int64_t t = 0; t < rows; ++t) {
        const float* row = &c[t * ld];
        float largest = 0;
        for (int64_t j = 0; j < cols; ++j) largest = std::max(largest, std::fabs(x[t * ld + j]));
        REQUIRE(scales[t] == largest / 127);
        for (int64_t j = 0; j < cols; ++j) {
          const double from = x[t * ld + j], step = scales[t];
          if (row[j] != std::nearbyint(row[j]) || std::fabs(row[j]) > 127 ||
              std::fabs(row[j] * step - from) > step * (0.5 + 4 * 127 * kHalfUlp)) {
            FAIL("row " << t << " lane " << j << ": " << row[j] << " steps of " << step << " for "
                        << from);
          }
          if (std::fabs(x[t * ld + j]) == largest) REQUIRE(std::fabs(row[j]) == 127);
        }
        for (int64_t j = cols; j < ld; ++j) REQUIRE(row[j] == 1e9f);
      }
    });
  }
}

TEST_CASE("QuantiseLatents: ties go to even, a zero row has scale 0, what is no number NaN") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> c = {127,       0.5f,       1.5f,      -2.5f,  // steps of 1
                          0,         -0.0f,      0,         0,      //
                          0x1p-101f, -0x1p-120f, 0x1p-149f, 0,      // below what is kept
                          1,         kPoison,    2,         3,      //
                          1,         -kInfinity, 2,         3,      //
                          3e38f,     -3e38f,     0,         1e38f};
  std::vector<float> scales(6, 7);
  QuantiseLatents({}, View(c, 6, 4), scales.data());
  const std::vector<float> expected = {127, 0, 2, -2, 0, 0, 0, 0, 0,   0,    0, 0,
                                       0,   0, 0, 0,  0, 0, 0, 0, 127, -127, 0, 42};
  for (size_t i = 0; i < c.size(); ++i) {
    CAPTURE(i);
    CHECK(c[i] == expected[i]);
  }
  CHECK(scales[0] == 1);
  CHECK(scales[1] == 0);
  CHECK(scales[2] == 0);
  CHECK(std::isnan(scales[3]));
  CHECK(std::isnan(scales[4]));
  CHECK(scales[5] == 3e38f / 127);
}

TEST_CASE("LatentWrite stores int8 latents, their scale and nothing else") {
  std::mt19937 rng(7);
  const int64_t tokens = 90, width = 70, row_latent = 128, rope_dim = 6, groups = 3;
  const int64_t row_bytes = 144, pitch = row_bytes + 16;  // 128 + 6 · 2 rounded up to 16
  std::vector<float> c = RandomFloats(rng, tokens * width, 3), steps(tokens);
  QuantiseLatents({}, View(c, tokens, width), steps.data());
  const std::vector<float> k_rope = RandomFloats(rng, tokens * rope_dim);
  const std::vector<float> alphas = RandomFloats(rng, tokens * groups);
  OnEveryContext([&](const Context& context) {
    std::vector<uint8_t> rows(tokens * pitch, 0xff);
    std::vector<float> written(tokens * groups, kPoison), scales(tokens, kPoison);
    std::vector<LatentSlot> slots(tokens);
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t slot = (t * 7) % tokens;
      slots[t] = {reinterpret_cast<std::byte*>(&rows[slot * pitch]), &written[slot * groups],
                  &scales[slot]};
    }
    LatentWrite(context, {.c = View(c, tokens, width),
                          .k_rope = View(k_rope, tokens, rope_dim),
                          .alphas = View(alphas, tokens, groups),
                          .scales = steps.data(),
                          .row_latent = row_latent,
                          .slots = slots});
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t slot = (t * 7) % tokens;
      std::vector<uint8_t> expected(pitch, 0);
      std::fill(expected.begin() + row_bytes, expected.end(), 0xff);
      for (int64_t j = 0; j < width; ++j) {
        expected[j] = static_cast<uint8_t>(static_cast<int>(c[t * width + j]));
      }
      for (int64_t j = 0; j < rope_dim; ++j) {
        const bf16 value = ToBf16(k_rope[t * rope_dim + j]);
        std::memcpy(&expected[row_latent + 2 * j], &value, 2);
      }
      CAPTURE(t);
      REQUIRE(std::memcmp(&rows[slot * pitch], expected.data(), expected.size()) == 0);
      REQUIRE(scales[slot] == steps[t]);
      REQUIRE(std::memcmp(&written[slot * groups], &alphas[t * groups], groups * 4) == 0);
    }
  });
}

}  // namespace
}  // namespace latentd
