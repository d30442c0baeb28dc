// Expanded attention from the cache against ordinary attention in double, on every path, and the
// choice between the routes.
#include "kernels/expanded_attention.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/core/thread_pool.h"
#include "kernels/latent_write.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

struct Case {
  AttentionGeometry geometry;
  KeyNorm key_norm = KeyNorm::kNone;
  DType dtype = DType::kBF16;
  CacheFormat format = CacheFormat::kBf16;
};

// One sequence in a pool that is NaN elsewhere.
struct Problem {
  Problem(std::mt19937& rng, const Case& c, int64_t length)
      : which(c),
        g(c.geometry),
        length(length),
        c(RandomFloats(rng, length * g.latent_width, 2)),
        k_rope(RandomFloats(rng, length * g.rope_dim)),
        alphas(RandomFloats(rng, length * NumAlphas())),
        weights(RandomFloats(rng, g.num_kv_groups * (g.nope_dim + g.value_dim) * g.latent_width,
                             1 / std::sqrt(static_cast<float>(g.latent_width)))),
        q(RandomFloats(rng, length * g.num_heads * KeyDim(), 2)) {
    for (std::vector<float>* v : {&this->c, &k_rope, &weights}) {
      std::transform(v->begin(), v->end(), v->begin(), RoundToBf16);
    }
    if (IsInt8()) {
      scales.resize(length);
      QuantiseLatents({}, View(this->c, length, g.latent_width), scales.data());
    }
    for (float& alpha : alphas) alpha = 0.5f + std::fabs(alpha);
    packed.resize(weights.size());
    std::transform(weights.begin(), weights.end(), packed.begin(), ToBf16);
    Write(rng);
  }

  bool IsInt8() const { return which.format == CacheFormat::kInt8; }
  // The latent that the cache stands for.
  double Latent(int64_t t, int64_t j) const {
    const double value = c[t * g.latent_width + j];
    return IsInt8() ? value * scales[t] : value;
  }
  int64_t NumAlphas() const { return which.key_norm == KeyNorm::kNone ? 0 : g.num_kv_groups; }
  int64_t KeyDim() const { return g.nope_dim + g.rope_dim; }
  int64_t RowLatent() const { return (g.latent_width + 63) / 64 * 64; }
  float Scale() const { return 1 / std::sqrt(static_cast<float>(KeyDim())); }

  void Write(std::mt19937& rng) {
    layer.format = which.format;
    layer.row_bytes = (LatentBytes(which.format) * RowLatent() + 2 * g.rope_dim + 15) / 16 * 16;
    layer.rows = 256;
    layer.scales = layer.rows + kBlockTokens * layer.row_bytes;
    layer.alphas = layer.scales + kBlockTokens * 4;
    const int64_t block = (layer.alphas + kBlockTokens * 4 * NumAlphas()) / kGranuleBytes + 1;
    const int64_t num_blocks = (length + kBlockTokens - 1) / kBlockTokens;
    pool.assign(static_cast<size_t>(num_blocks * block * kGranuleBytes), std::byte{0xff});
    for (int64_t i = 0; i < num_blocks; ++i) table.push_back(static_cast<uint32_t>(i * block));
    std::shuffle(table.begin(), table.end(), rng);
    std::vector<LatentSlot> slots;
    for (int64_t t = 0; t < length; ++t) {
      std::byte* start = pool.data() + int64_t{table[t / kBlockTokens]} * kGranuleBytes;
      slots.push_back(
          {start + layer.rows + t % kBlockTokens * layer.row_bytes,
           reinterpret_cast<float*>(start + layer.alphas) + t % kBlockTokens * NumAlphas(),
           IsInt8() ? reinterpret_cast<float*>(start + layer.scales) + t % kBlockTokens : nullptr});
    }
    LatentWrite({}, {.c = View(c, length, g.latent_width),
                     .k_rope = View(k_rope, length, g.rope_dim),
                     .alphas = View(alphas, length, NumAlphas()),
                     .scales = IsInt8() ? scales.data() : nullptr,
                     .row_latent = RowLatent(),
                     .slots = slots});
  }

  // The rows of [first, length), as one chunk.
  std::vector<float> Run(const Context& context, int64_t first) const {
    const int64_t rows = length - first;
    std::vector<float> out(static_cast<size_t>(rows * g.num_heads * g.value_dim), NAN);
    const int64_t group_rows = g.num_kv_groups * (g.nope_dim + g.value_dim);
    const void* data = weights.data();
    if (which.dtype == DType::kBF16) data = packed.data();
    ExpandedAttention(
        context,
        {.geometry = g,
         .q = View(q, length, g.num_heads * KeyDim()).Rows(first, rows),
         .kv_b = {data, which.dtype, group_rows, g.latent_width, g.latent_width},
         .out = View(out, rows, g.num_heads * g.value_dim),
         .row_latent = RowLatent(),
         .key_norm = which.key_norm,
         .softmax_scale = Scale(),
         .pool = pool.data(),
         .layer = layer,
         .sequence = {
             .block_table = table, .first_row = 0, .num_tokens = rows, .first_position = first}});
    return out;
  }

  const Case which;
  const AttentionGeometry g;
  const int64_t length;
  std::vector<float> c, k_rope, alphas, weights, q;  // c: whole numbers of int8
  std::vector<float> scales;                         // of int8
  std::vector<bf16> packed;
  std::vector<std::byte> pool;
  std::vector<uint32_t> table;
  LayerOffsets layer;
};

// Projected keys and values of one group in double, and what fp32 may add to each element.
struct Projected {
  Projected(const Problem& p, int64_t group) : key_dim(p.KeyDim()), value_dim(p.g.value_dim) {
    const int64_t d_n = p.g.nope_dim, w = p.g.latent_width;
    for (int64_t t = 0; t < p.length; ++t) {
      const double alpha = p.NumAlphas() > 0 ? p.alphas[t * p.NumAlphas() + group] : 1;
      for (int64_t i = 0; i < d_n + value_dim; ++i) {
        double sum = 0, magnitude = 0;
        for (int64_t j = 0; j < w; ++j) {
          const double term =
              double{p.weights[(group * (d_n + value_dim) + i) * w + j]} * p.Latent(t, j);
          sum += term;
          magnitude += std::fabs(term);
        }
        const double factor = i < d_n ? alpha : 1;
        (i < d_n ? keys : values).push_back(factor * sum);
        (i < d_n ? key_errors : value_errors)
            .push_back(factor * magnitude * static_cast<double>(w + 4) * kHalfUlp);
      }
      const double rope_alpha = p.which.key_norm == KeyNorm::kUnified ? alpha : 1;
      for (int64_t i = 0; i < p.g.rope_dim; ++i) {
        keys.push_back(rope_alpha * p.k_rope[t * p.g.rope_dim + i]);
        key_errors.push_back(0);
      }
    }
  }
  int64_t key_dim, value_dim;
  std::vector<double> keys, key_errors;      // [length, d_n + d_r]
  std::vector<double> values, value_errors;  // [length, d_v]
};

// One row and head in double, with its bound.
//
// q and k are each rounded to bf16, u = 2^-8: a score errs by δ = s·Σ |q||k| (2u + u² +
// (d+4)·2^-24)
// + (1 + u)·|q|·e, e what fp32 adds to k. A weight then errs by ε = e^(2δ) − 1, 3e-7 of the
// exponential and u of its own rounding; since weights are divided by their sum, an output errs by
// Σ p |v − o| ε / (1 − ε), besides Σ p (u |v| + e) of the values and T + 16 roundings of Σ p |v|.
void Expect(const Problem& p, const Projected& kv, int64_t head, int64_t position,
            std::vector<double>* expected, std::vector<double>* bound) {
  const float* q = &p.q[(position * p.g.num_heads + head) * kv.key_dim];
  const double u = kHalfUlpBf16, scale = p.Scale();
  std::vector<double> weights;
  double delta = 0, sum = 0;
  for (int64_t t = 0; t <= position; ++t) {
    double score = 0, error = 0;
    for (int64_t i = 0; i < kv.key_dim; ++i) {
      const double k = kv.keys[t * kv.key_dim + i];
      score += q[i] * k;
      error +=
          std::fabs(q[i] * k) * (2 * u + u * u + static_cast<double>(kv.key_dim + 4) * kHalfUlp) +
          (1 + u) * std::fabs(q[i]) * kv.key_errors[t * kv.key_dim + i];
    }
    weights.push_back(scale * score);
    delta = std::max(delta, scale * error);
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  const double epsilon = std::expm1(2 * delta) + 3e-7 + u;
  REQUIRE(epsilon < 0.9);
  for (int64_t j = 0; j < kv.value_dim; ++j) {
    double mean = 0, magnitude = 0, error = 0, spread = 0;
    const auto v = [&](int64_t t) { return kv.values[t * kv.value_dim + j]; };
    for (int64_t t = 0; t <= position; ++t) {
      const double weight = weights[t] / sum;
      mean += weight * v(t);
      magnitude += weight * std::fabs(v(t));
      error += weight * (u * std::fabs(v(t)) + kv.value_errors[t * kv.value_dim + j]);
    }
    for (int64_t t = 0; t <= position; ++t) spread += weights[t] / sum * std::fabs(v(t) - mean);
    expected->push_back(mean);
    bound->push_back(spread * epsilon / (1 - epsilon) + error +
                     static_cast<double>(position + 17) * (kHalfUlp * magnitude + 0x1p-126));
  }
}

void CheckCase(const Case& c, int64_t length, int64_t first, uint32_t seed) {
  std::mt19937 rng(seed);
  const Problem problem(rng, c, length);
  std::vector<Projected> groups;
  for (int64_t i = 0; i < c.geometry.num_kv_groups; ++i) groups.emplace_back(problem, i);
  const int64_t heads = c.geometry.num_heads, d_v = c.geometry.value_dim;
  std::vector<double> expected, bound;
  std::vector<size_t> rows;  // of [token, head]
  const int64_t step = std::max<int64_t>(1, (length - first) * heads / 30) | 1;
  for (int64_t row = 0; row < (length - first) * heads; row += step) {
    const int64_t head = row % heads, group = head * c.geometry.num_kv_groups / heads;
    Expect(problem, groups[group], head, first + row / heads, &expected, &bound);
    rows.push_back(static_cast<size_t>(row));
  }
  ThreadPool two(2);
  for (const CpuPath path : RunnablePaths()) {
    const std::vector<float> out = problem.Run({path, &two}, first);
    std::vector<float> compared;
    for (size_t row : rows) {
      const auto begin = out.begin() + static_cast<int64_t>(row) * d_v;
      compared.insert(compared.end(), begin, begin + d_v);
    }
    RequireWithin(compared, expected, bound,
                  std::string(Name(path)) + " norm " +
                      std::to_string(static_cast<int>(c.key_norm)) + " H " + std::to_string(heads) +
                      " length " + std::to_string(length));
  }
}

}  // namespace

TEST_CASE("expanded attention equals ordinary attention on every path") {
  uint32_t seed = 1;
  for (const KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    CheckCase({{4, 4, 16, 8, 16, 64}, norm}, 70, 0, seed++);
    CheckCase({{6, 2, 12, 0, 10, 37}, norm, DType::kF32}, 131, 60, seed++);  // odd, no rope
    CheckCase({{20, 20, 8, 4, 6, 100}, norm}, 90, 1, seed++);     // more heads than at a time
    CheckCase({{34, 1, 8, 4, 40, 64}, norm}, 100, 33, seed++);    // one group of more
    CheckCase({{3, 3, 16, 8, 24, 64}, norm}, 1100, 480, seed++);  // over tiles of 512
    CheckCase({{2, 1, 16, 8, 24, 64}, norm}, 1026, 1025, seed++);
    CheckCase({{6, 2, 12, 6, 10, 37}, norm, DType::kBF16, CacheFormat::kInt8}, 131, 60, seed++);
    CheckCase({{3, 3, 16, 0, 24, 64}, norm, DType::kF32, CacheFormat::kInt8}, 600, 480, seed++);
  }
}

TEST_CASE("the expanded route is taken where it has less to do") {
  const AttentionGeometry deepseek = {128, 128, 128, 64, 128, 512};
  // Multiply-adds break even at 170 new tokens; a dearer multiply-add moves that up.
  CHECK_FALSE(PrefersExpanded(deepseek, 100'000, 1));
  CHECK_FALSE(PrefersExpanded(deepseek, 100'000, 170));
  CHECK(PrefersExpanded(deepseek, 100'000, 1024));
  CHECK(PrefersExpanded(deepseek, 0, 1024));
  // Once taken it stays taken as the chunk grows, and fewer groups make keys cheaper.
  const AttentionGeometry grouped = {128, 8, 128, 64, 128, 512};
  for (const int64_t first : {0, 1000, 100'000}) {
    for (int64_t n = 2; n < 2000; ++n) {
      REQUIRE(PrefersExpanded(deepseek, first, n) >= PrefersExpanded(deepseek, first, n - 1));
      REQUIRE(PrefersExpanded(grouped, first, n) >= PrefersExpanded(deepseek, first, n));
    }
  }
  // A small latent beside wide heads: never.
  CHECK_FALSE(PrefersExpanded({8, 8, 128, 64, 128, 64}, 1000, 100'000));
}

}  // namespace latentd
