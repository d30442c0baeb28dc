#include "tests/kernels/expanded_case.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/latent_write.h"

namespace latentd {

namespace {

// Projected keys and values of one group in double, and what fp32 may add to each element.
struct KeysAndValues {
  KeysAndValues(const ExpandedProblem& p, int64_t group)
      : key_dim(p.KeyDim()), value_dim(p.g.value_dim) {
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

// One row and head, with its bound.
void Expect(const ExpandedProblem& p, const KeysAndValues& kv, int64_t head, int64_t position,
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

}  // namespace

ExpandedProblem::ExpandedProblem(std::mt19937& rng, const ExpandedCase& c, int64_t length)
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

void ExpandedProblem::Write(std::mt19937& rng) {
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

ExpandedOracle::ExpandedOracle(const ExpandedProblem& problem, int64_t first) : problem_(problem) {
  const int64_t heads = problem.g.num_heads, groups = problem.g.num_kv_groups;
  std::vector<KeysAndValues> kv;
  for (int64_t i = 0; i < groups; ++i) kv.emplace_back(problem, i);
  const int64_t rows = (problem.length - first) * heads;
  const int64_t step = std::max<int64_t>(1, rows / 30) | 1;
  for (int64_t row = 0; row < rows; row += step) {
    const int64_t head = row % heads;
    Expect(problem, kv[head * groups / heads], head, first + row / heads, &expected_, &bound_);
    rows_.push_back(static_cast<size_t>(row));
  }
}

void ExpandedOracle::Require(std::span<const float> out, const std::string& what) const {
  std::vector<float> compared;
  const auto d_v = static_cast<size_t>(problem_.g.value_dim);
  for (const size_t row : rows_) {
    const auto values = out.subspan(row * d_v, d_v);
    compared.insert(compared.end(), values.begin(), values.end());
  }
  RequireWithin(compared, expected_, bound_,
                what + " norm " + std::to_string(static_cast<int>(problem_.which.key_norm)) +
                    " H " + std::to_string(problem_.g.num_heads) + " length " +
                    std::to_string(problem_.length));
}

}  // namespace latentd
