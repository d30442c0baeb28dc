// Latents from projection to slot, emulated or on a device: values against fp64, bytes against the
// CPU's LatentWrite.
#include "kernels/cuda/latent_write.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/latent_write.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

struct Shape {
  int64_t width, rope_dim, nope_dim, groups;
  KeyNorm key_norm;
  bool norm_before_rope = true;
  bool interleaved = true;

  int64_t RowLatent() const { return (width + 63) / 64 * 64; }
  int64_t RowBytes() const { return (2 * (RowLatent() + rope_dim) + 15) / 16 * 16; }
  std::string Describe() const {
    return "w " + std::to_string(width) + " d_r " + std::to_string(rope_dim) + " d_n " +
           std::to_string(nope_dim) + " G " + std::to_string(groups) + " norm " +
           std::to_string(static_cast<int>(key_norm)) + (norm_before_rope ? "" : " rotated first") +
           (interleaved ? "" : " halves");
  }
};

constexpr float kLatentEpsilon = 1e-6f, kKeyEpsilon = 1e-5f;
constexpr int64_t kNumBlocks = 3;

// A step's projections and weights, and the slots that its tokens go to.
struct Step {
  Step(std::mt19937& rng, const Shape& shape, int64_t tokens) : shape(shape), tokens(tokens) {
    layer = {.rows = 512, .alphas = 512 + 64 * shape.RowBytes(), .row_bytes = shape.RowBytes()};
    block_granules = (layer.alphas + 64 * 4 * shape.groups + 255) / 256 + 1;
    projected = RandomFloats(rng, tokens * Ld(), 2);
    angles.resize(tokens * shape.rope_dim);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t j = 0; j < shape.rope_dim / 2; ++j) {  // a factor, as YaRN may have
        const float angle = RandomFloats(rng, 1, 3)[0];
        angles[t * shape.rope_dim + j] = 1.25f * std::cos(angle);
        angles[t * shape.rope_dim + shape.rope_dim / 2 + j] = 1.25f * std::sin(angle);
      }
    }
    latent_norm = RandomFloats(rng, shape.width, 2);
    key_norm = RandomFloats(rng, shape.rope_dim, 2);
    for (const float value : RandomFloats(rng, shape.groups * GroupStride())) {
      w_uk.push_back(ToBf16(value));
    }
    for (int64_t i = 0; i < kNumBlocks * 64; ++i) {
      slots.push_back((1 + i / 64 * block_granules) * 64 + i % 64);
    }
    std::shuffle(slots.begin(), slots.end(), rng);
    slots.resize(static_cast<size_t>(tokens));
    for (size_t t = 2; t < slots.size(); t += 5) slots[t] = -1;  // padding
  }
  int64_t Ld() const { return shape.width + 9 + shape.rope_dim; }
  int64_t WeightLd() const { return shape.width + 7; }
  int64_t GroupStride() const { return (shape.nope_dim + 3) * WeightLd(); }
  const float* Latent(int64_t t) const { return &projected[t * Ld()]; }
  const float* Key(int64_t t) const { return &projected[t * Ld() + shape.width + 9]; }
  std::vector<std::byte> Pool() const {
    return std::vector<std::byte>(static_cast<size_t>(256 * (1 + kNumBlocks * block_granules)),
                                  std::byte{0xff});
  }

  Shape shape;
  int64_t tokens;
  LayerOffsets layer;
  int64_t block_granules;
  std::vector<float> projected, angles, latent_norm, key_norm;
  std::vector<bf16> w_uk;
  std::vector<int64_t> slots;
};

std::vector<std::byte> Write(const Step& step) {
  const Shape& s = step.shape;
  const Array projected(step.projected), angles(step.angles), latent_norm(step.latent_norm),
      key_norm(step.key_norm);
  const Array squares(std::vector<float>(static_cast<size_t>(step.tokens),
                                         std::numeric_limits<float>::quiet_NaN()));
  const Array w_uk(step.w_uk);
  const Array slots(step.slots);
  const Array pool(step.Pool());
  LatentWriteArgs args;
  args.latents = projected.View(step.tokens, s.width, step.Ld());
  args.keys = {projected.data() + s.width + 9, step.tokens, s.rope_dim, step.Ld()};
  args.angles = angles.View(step.tokens, s.rope_dim);
  args.latent_norm = latent_norm.data();
  args.latent_epsilon = kLatentEpsilon;
  args.interleaved = s.interleaved;
  args.norm_before_rope = s.norm_before_rope;
  args.slots = slots.data();
  args.pool = pool.data();
  args.layer = step.layer;
  args.row_latent = s.RowLatent();
  args.key_norm = s.key_norm;
  args.key_epsilon = kKeyEpsilon;
  args.key_norm_weight = key_norm.data();
  args.w_uk = {w_uk.data(), DType::kBF16, s.nope_dim, s.width, step.WeightLd()};
  args.w_uk_group_stride = step.GroupStride();
  args.num_kv_groups = s.groups;
  args.key_squares = squares.data();
  LatentWrite(nullptr, args);
  return pool.Read();
}

const bf16* RowAt(const Step& step, const std::vector<std::byte>& pool, int64_t slot) {
  return reinterpret_cast<const bf16*>(
      &pool[slot / 64 * 256 + step.layer.rows + slot % 64 * step.layer.row_bytes]);
}
const float* AlphasAt(const Step& step, const std::vector<std::byte>& pool, int64_t slot) {
  return reinterpret_cast<const float*>(
      &pool[slot / 64 * 256 + step.layer.alphas + slot % 64 * 4 * step.shape.groups]);
}

// Σ x², mean, root: n/2 + 6 roundings on ρ, as in RmsNorm.
double RhoError(int64_t count) { return (static_cast<double>(count) / 2 + 6) * kHalfUlp; }
double Rho(double squares, int64_t count, double epsilon) {
  return 1 / std::sqrt(squares / static_cast<double>(count) + epsilon);
}

struct Turned {
  std::vector<double> value, error;  // error: bound of the fp32 computation
};
// Rotated in fp64; two products and a sum, whose operands may err already.
void RotateInto(const Step& step, int64_t token, Turned& k) {
  const int64_t pairs = step.shape.rope_dim / 2;
  for (int64_t j = 0; j < pairs; ++j) {
    const int64_t a = step.shape.interleaved ? 2 * j : j;
    const int64_t b = step.shape.interleaved ? 2 * j + 1 : j + pairs;
    const double c = step.angles[token * 2 * pairs + j];
    const double s = step.angles[token * 2 * pairs + pairs + j];
    const double x = k.value[a], y = k.value[b];
    const double size = std::fabs(x) + std::fabs(y), before = k.error[a] + k.error[b];
    k.value[a] = x * c - y * s;
    k.value[b] = x * s + y * c;
    k.error[a] = k.error[b] = 1.25 * (before + 3 * kHalfUlp * (size + before));
  }
}

// kR before it is stored, and ‖k‖² as the norm sees it.
Turned KeyOf(const Step& step, int64_t token, double* squares) {
  const Shape& s = step.shape;
  Turned k = {{step.Key(token), step.Key(token) + s.rope_dim}, std::vector<double>(s.rope_dim, 0)};
  const bool rotates_first = s.key_norm != KeyNorm::kNone && !s.norm_before_rope;
  if (rotates_first) RotateInto(step, token, k);
  *squares = 0;
  double error = 0;
  for (int64_t j = 0; j < s.rope_dim; ++j) {
    *squares += k.value[j] * k.value[j];
    error += 2 * std::fabs(k.value[j]) * k.error[j];
  }
  for (int64_t j = 0; j < s.rope_dim && s.key_norm != KeyNorm::kNone; ++j) {
    const bool blockwise = s.key_norm == KeyNorm::kBlockwise;
    const double rho = blockwise ? Rho(*squares, s.rope_dim, kKeyEpsilon) : 1;
    const double relative = blockwise ? RhoError(s.rope_dim) + error / *squares : 2 * kHalfUlp;
    const double factor = rho * step.key_norm[j];
    k.value[j] *= factor;
    k.error[j] = (k.error[j] * std::fabs(factor) + std::fabs(k.value[j]) * relative) * 1.01;
  }
  if (!rotates_first) RotateInto(step, token, k);
  return k;
}

void CheckToken(const Step& step, const std::vector<std::byte>& pool, int64_t t) {
  const Shape& s = step.shape;
  const bf16* row = RowAt(step, pool, step.slots[t]);
  std::vector<float> stored;
  std::vector<double> expected, bound;
  const auto expect = [&](bf16 actual, double value, double error) {
    stored.push_back(ToFloat(actual));
    expected.push_back(value);
    bound.push_back(error + (std::fabs(value) + error) * kHalfUlpBf16);
  };
  const float* u = step.Latent(t);
  const double squares = std::inner_product(u, u + s.width, u, 0.0);
  const double rho = Rho(squares, s.width, kLatentEpsilon);
  for (int64_t j = 0; j < s.width; ++j) {
    const double value = step.latent_norm[j] * (u[j] * rho);
    expect(row[j], value, std::fabs(value) * RhoError(s.width));
  }
  double key_squares = 0;
  const Turned k = KeyOf(step, t, &key_squares);
  for (int64_t j = 0; j < s.rope_dim; ++j) expect(row[s.RowLatent() + j], k.value[j], k.error[j]);
  RequireWithin(stored, expected, bound, s.Describe() + ", token " + std::to_string(t));
}

// α from c as stored. A key errs by (w + 1) roundings of Σ|c·w|, which its square doubles.
void CheckAlphas(const Step& step, const std::vector<std::byte>& pool, int64_t t) {
  const Shape& s = step.shape;
  const bf16* c = RowAt(step, pool, step.slots[t]);
  double extra = 0;
  KeyOf(step, t, &extra);
  const bool unified = s.key_norm == KeyNorm::kUnified;
  const int64_t count = s.nope_dim + (unified ? s.rope_dim : 0);
  std::vector<double> expected, bound;
  for (int64_t g = 0; g < s.groups; ++g) {
    double squares = unified ? extra : 0, error = squares * 8 * kHalfUlp;
    for (int64_t n = 0; n < s.nope_dim; ++n) {
      const bf16* w = &step.w_uk[g * step.GroupStride() + n * step.WeightLd()];
      double key = 0, size = 0;
      for (int64_t k = 0; k < s.width; ++k) {
        key += double{ToFloat(c[k])} * ToFloat(w[k]);
        size += std::fabs(double{ToFloat(c[k])} * ToFloat(w[k]));
      }
      const double key_error = static_cast<double>(s.width + 1) * kHalfUlp * size;
      squares += key * key;
      error += 2 * std::fabs(key) * key_error + key_error * key_error;
    }
    expected.push_back(Rho(squares, count, kKeyEpsilon));
    bound.push_back(expected.back() * (error / squares + RhoError(count)));
  }
  const float* alphas = AlphasAt(step, pool, step.slots[t]);
  RequireWithin({alphas, static_cast<size_t>(s.groups)}, expected, bound,
                s.Describe() + ", alphas of token " + std::to_string(t));
}

// The CPU's LatentWrite of the values found in the slots must give the same pool: zero lanes, and
// nothing touched beside the slots.
void CheckBytes(const Step& step, const std::vector<std::byte>& pool) {
  const Shape& s = step.shape;
  std::vector<std::byte> expected = step.Pool();
  for (const int64_t slot : step.slots) {
    if (slot < 0) continue;
    std::vector<float> c, k, alphas;
    const bf16* row = RowAt(step, pool, slot);
    for (int64_t j = 0; j < s.width; ++j) c.push_back(ToFloat(row[j]));
    for (int64_t j = 0; j < s.rope_dim; ++j) k.push_back(ToFloat(row[s.RowLatent() + j]));
    const int64_t groups = s.key_norm == KeyNorm::kNone ? 0 : s.groups;
    alphas.assign(AlphasAt(step, pool, slot), AlphasAt(step, pool, slot) + groups);
    const LatentSlot to = {
        .row = reinterpret_cast<std::byte*>(const_cast<bf16*>(RowAt(step, expected, slot))),
        .alphas = const_cast<float*>(AlphasAt(step, expected, slot))};
    latentd::LatentWrite({}, {.c = View(c, 1, s.width),
                              .k_rope = View(k, 1, s.rope_dim),
                              .alphas = View(alphas, 1, groups),
                              .row_latent = s.RowLatent(),
                              .slots = {&to, 1}});
  }
  INFO(s.Describe());
  REQUIRE(pool == expected);
}

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes = {{70, 6, 40, 3, KeyNorm::kNone},
                               {64, 0, 40, 1, KeyNorm::kNone},
                               {128, 64, 40, 1, KeyNorm::kNone, true, false}};
  for (const KeyNorm key_norm : {KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    for (const bool before : {true, false}) {
      for (const bool interleaved : {true, false}) {
        shapes.push_back({70, 6, 40, 3, key_norm, before, interleaved});
        shapes.push_back({128, 64, 130, 1, key_norm, before, interleaved});
      }
    }
    shapes.push_back({241, 0, 96, 2, key_norm});
  }
  return shapes;
}

TEST_CASE("LatentWrite stores normalised latents, rotated keys and their inverse RMS", "[small]") {
  std::mt19937 rng(1);
  for (const Shape& shape : Shapes()) {
    const Step step(rng, shape, 37);
    const std::vector<std::byte> pool = Write(step);
    for (int64_t t = 0; t < step.tokens; ++t) {
      if (step.slots[t] < 0) continue;
      CheckToken(step, pool, t);
      if (shape.key_norm != KeyNorm::kNone) CheckAlphas(step, pool, t);
    }
    CheckBytes(step, pool);
  }
}

TEST_CASE("a token's slot has the same bits alone and in any batch") {
  std::mt19937 rng(2);
  for (const Shape& shape : Shapes()) {
    const Step step(rng, shape, 40);
    const std::vector<std::byte> together = Write(step);
    for (const int64_t t : {0, 33, 39}) {
      Step alone = step;
      alone.tokens = 1;
      alone.projected.assign(step.Latent(t), step.Latent(t) + step.Ld());
      const float* angles = step.angles.data() + t * shape.rope_dim;  // none where rope_dim is 0
      alone.angles.assign(angles, angles + shape.rope_dim);
      alone.slots = {step.slots[t]};
      REQUIRE(step.slots[t] >= 0);
      const std::vector<std::byte> pool = Write(alone);
      INFO(shape.Describe() << ", token " << t);
      const auto* row = reinterpret_cast<const std::byte*>(RowAt(step, together, step.slots[t]));
      const auto* alphas =
          reinterpret_cast<const std::byte*>(AlphasAt(step, together, step.slots[t]));
      CHECK(std::equal(row, row + shape.RowBytes(),
                       reinterpret_cast<const std::byte*>(RowAt(alone, pool, alone.slots[0]))));
      CHECK(std::equal(alphas, alphas + 4 * shape.groups,
                       reinterpret_cast<const std::byte*>(AlphasAt(alone, pool, alone.slots[0]))));
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
