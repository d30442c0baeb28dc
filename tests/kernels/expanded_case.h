// A sequence in the paged latent and what expanded attention makes of it, in double, with a bound:
// shared by the routes' tests.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/expanded_attention.h"
#include "tests/kernels/support.h"

namespace latentd {

struct ExpandedCase {
  AttentionGeometry geometry;
  KeyNorm key_norm = KeyNorm::kNone;
  DType dtype = DType::kBF16;
  CacheFormat format = CacheFormat::kBf16;
};

// One sequence in a pool that is NaN elsewhere.
struct ExpandedProblem {
  ExpandedProblem(std::mt19937& rng, const ExpandedCase& c, int64_t length);

  bool IsInt8() const { return which.format == CacheFormat::kInt8; }
  // The latent that the cache stands for.
  double Latent(int64_t t, int64_t j) const {
    const double value = c[t * g.latent_width + j];
    return IsInt8() ? value * scales[t] : value;
  }
  int64_t NumAlphas() const { return which.key_norm == KeyNorm::kNone ? 0 : g.num_kv_groups; }
  int64_t KeyDim() const { return g.nope_dim + g.rope_dim; }
  int64_t RowLatent() const { return (g.latent_width + 63) / 64 * 64; }
  // [G(d_n + d_v), w]
  WeightView KvB() const {
    const void* data = which.dtype == DType::kBF16 ? static_cast<const void*>(packed.data())
                                                   : static_cast<const void*>(weights.data());
    const int64_t rows = g.num_kv_groups * (g.nope_dim + g.value_dim);
    return {data, which.dtype, rows, g.latent_width, g.latent_width};
  }
  float Scale() const { return 1 / std::sqrt(static_cast<float>(KeyDim())); }

  const ExpandedCase which;
  const AttentionGeometry g;
  const int64_t length;
  std::vector<float> c, k_rope, alphas, weights, q;  // c: whole numbers of int8
  std::vector<float> scales;                         // of int8
  std::vector<bf16> packed;
  std::vector<std::byte> pool;
  std::vector<uint32_t> table;
  LayerOffsets layer;

 private:
  void Write(std::mt19937& rng);
};

// Some thirty rows and heads of the chunk [first, length) in double, each with its bound.
//
// q and k are each rounded to bf16, u = 2^-8: a score errs by δ = s·Σ |q||k| (2u + u² +
// (d+4)·2^-24) + (1 + u)·|q|·e, e what fp32 adds to k. A weight then errs by ε = e^(2δ) − 1, 3e-7
// of the exponential and u of its own rounding; since weights are divided by their sum, an output
// errs by Σ p |v − o| ε / (1 − ε), besides Σ p (u |v| + e) of the values and T + 16 roundings of
// Σ p |v|. So many suffice for any spans of 64 tokens or more: a span of n gives a term n roundings
// at most, and each of the T/n after it two.
class ExpandedOracle {
 public:
  ExpandedOracle(const ExpandedProblem& problem, int64_t first);

  // out: [length − first, H·d_v].
  void Require(std::span<const float> out, const std::string& what) const;

 private:
  const ExpandedProblem& problem_;
  std::vector<size_t> rows_;              // of [token, head]
  std::vector<double> expected_, bound_;  // of each row's d_v outputs
};

}  // namespace latentd
