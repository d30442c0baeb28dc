#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "tests/kernels/cuda/mla_decode_case.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

// How far the kernel and the oracle may be apart in one row.
//
// Both round q and c alike; of each, a score errs by at most (row width + 8) roundings of the sum
// of its terms' magnitudes: δ (the kernel's base-2 scale has two roundings more than the oracle's).
// A weight e^(s − m) then errs by e^(2δ) − 1, by the exponential (3e-7) and by rounding p to bf16
// (2^-8): ε. Divided by their own sum, the weights move coordinate j by at most Σ p |c_t − z_j| ε /
// (1 − ε); besides, every step of the longest chain of sums rounds Σ p |c_t| once. The two sides
// together err by twice that.
constexpr double kUlp = 2 * kHalfUlp;

std::vector<double> BoundOfRow(const Step& step, const AttentionSequence& sequence, int64_t row) {
  const Shape& shape = step.shape;
  const int64_t num_tokens = sequence.first_position + row / shape.num_heads + 1;
  const int64_t group = row % shape.num_heads * shape.num_groups / shape.num_heads;
  const bf16* q =
      &step.q[static_cast<size_t>((sequence.first_row * shape.num_heads + row) * shape.QueryLd())];
  std::vector<double> weights(static_cast<size_t>(num_tokens));
  std::vector<const bf16*> c(static_cast<size_t>(num_tokens));
  double delta = 0;
  for (int64_t t = 0; t < num_tokens; ++t) {
    const std::byte* block = &step.pool[sequence.block_table[static_cast<size_t>(t / 64)] *
                                        static_cast<size_t>(kGranuleBytes)];
    const auto* k =
        reinterpret_cast<const bf16*>(block + step.layer.rows + t % 64 * step.layer.row_bytes);
    double alpha = reinterpret_cast<const float*>(
        block + step.layer.alphas)[t % 64 * shape.num_groups + group];
    if (shape.key_norm == KeyNorm::kNone) alpha = 1;
    double score = 0, magnitude = 0;
    for (int64_t j = 0; j < shape.RowWidth(); ++j) {
      const bool scaled = j < shape.row_latent || shape.key_norm == KeyNorm::kUnified;
      const double term = (scaled ? alpha : 1) * ToFloat(q[j]) * ToFloat(k[j]);
      score += term;
      magnitude += std::fabs(term);
    }
    weights[static_cast<size_t>(t)] = double{shape.Scale()} * score;
    c[static_cast<size_t>(t)] = k;
    delta = std::max(delta,
                     static_cast<double>(shape.RowWidth() + 8) * kUlp * shape.Scale() * magnitude);
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  const double epsilon = std::expm1(2 * delta) + 3e-7 + kHalfUlpBf16;
  const auto depth =
      static_cast<double>(std::min(num_tokens, kUnitTokens) + 4 + num_tokens / kGroupTokens + 16);
  std::vector<double> bound;
  for (int64_t j = 0; j < shape.row_latent; ++j) {
    double mean = 0, magnitude = 0, spread = 0;
    for (size_t t = 0; t < weights.size(); ++t) {
      mean += weights[t] / sum * ToFloat(c[t][j]);
      magnitude += weights[t] / sum * std::fabs(ToFloat(c[t][j]));
    }
    for (size_t t = 0; t < weights.size(); ++t) {
      spread += weights[t] / sum * std::fabs(ToFloat(c[t][j]) - mean);
    }
    bound.push_back(2 * (spread * epsilon / (1 - epsilon) + depth * kUlp * magnitude));
  }
  return bound;
}

}  // namespace

std::vector<float> Step::Oracle() const {
  std::vector<float> q_floats(static_cast<size_t>(q_rows * shape.RowWidth()));
  for (int64_t i = 0; i < q_rows; ++i) {
    const bf16* row = &q[static_cast<size_t>(i * shape.QueryLd())];
    std::transform(row, row + shape.RowWidth(),
                   &q_floats[static_cast<size_t>(i * shape.RowWidth())],
                   [](bf16 value) { return ToFloat(value); });
  }
  std::vector<float> out(static_cast<size_t>(q_rows * shape.row_latent), kNan);
  MlaAttentionArgs args;
  args.q = View(std::as_const(q_floats), q_rows, shape.RowWidth());
  args.out = View(out, q_rows, shape.row_latent);
  args.num_heads = shape.num_heads;
  args.num_kv_groups = shape.num_groups;
  args.row_latent = shape.row_latent;
  args.rope_dim = shape.rope_dim;
  args.key_norm = shape.key_norm;
  args.softmax_scale = shape.Scale();
  args.pool = pool.data();
  args.layer = layer;
  args.sequences = sequences;
  MlaAttention({CpuPath::kScalar, nullptr}, args);
  return out;
}

void RequireNearOracle(const Step& step, const std::vector<float>& actual) {
  const std::vector<float> oracle = step.Oracle();
  for (const AttentionSequence& sequence : step.sequences) {
    const int64_t rows = sequence.num_tokens * step.shape.num_heads;
    for (int64_t row = 0; row < rows; row += std::max<int64_t>(1, rows / 24) | 1) {
      const auto begin = static_cast<size_t>((sequence.first_row * step.shape.num_heads + row) *
                                             step.shape.row_latent);
      const auto lanes = static_cast<size_t>(step.shape.row_latent);
      const std::span expected = std::span(oracle).subspan(begin, lanes);
      RequireWithin(std::span(actual).subspan(begin, lanes),
                    std::vector<double>(expected.begin(), expected.end()),
                    BoundOfRow(step, sequence, row),
                    step.shape.Describe() + " row " + std::to_string(row) + " of " +
                        std::to_string(sequence.first_position + sequence.num_tokens) + " tokens");
    }
  }
}

}  // namespace latentd::cuda
