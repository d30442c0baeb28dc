// A step of the decode attention for its tests: shapes, random latents, the oracle and a bound.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/cuda/decode_plan.h"
#include "kernels/mla_attention.h"

namespace latentd::cuda {

struct Shape {
  int num_heads;
  int num_groups;
  int row_latent;
  int rope_dim;
  KeyNorm key_norm;

  int64_t RowWidth() const { return row_latent + rope_dim; }
  int64_t RowBytes() const { return (2 * RowWidth() + 15) / 16 * 16; }
  int64_t QueryLd() const { return (RowWidth() + 7) / 8 * 8; }
  float Scale() const { return 1 / std::sqrt(static_cast<float>(RowWidth())); }
  std::string Describe() const {
    return "H " + std::to_string(num_heads) + " G " + std::to_string(num_groups) + " r_w " +
           std::to_string(row_latent) + " d_r " + std::to_string(rope_dim) + " norm " +
           std::to_string(static_cast<int>(key_norm));
  }
};

// A step: sequences over a pool in which all else is NaN, their blocks in random order and, as
// granules allow, at odd distances; the queries of their last tokens.
struct Step {
  Step(std::mt19937& rng, const Shape& shape, const std::vector<int64_t>& lengths,
       const std::vector<int64_t>& new_tokens);

  // A step without its sequences but one, or without its first tokens.
  Step Only(size_t sequence, int64_t token, int64_t num_tokens) const;

  // Rows of the step, heads and lanes after one another: of the kernel, and of the CPU. columns: as
  // in MlaDecodeArgs.
  std::vector<float> Run(const DecodePlan& plan, std::optional<int> columns = {}) const;
  std::vector<float> Oracle() const;

  static constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  Shape shape;
  LayerOffsets layer;
  std::vector<std::byte> pool;
  std::vector<uint32_t> tables;
  int64_t table_ld = 0;
  std::vector<AttentionSequence> sequences;
  std::vector<bf16> q;
  int64_t q_rows = 0;

 private:
  void WriteToken(std::mt19937& rng, const uint32_t* table, int64_t t, int64_t length);
};

// REQUIREs that sampled rows of what Run gave are as near the oracle as rounding allows.
void RequireNearOracle(const Step& step, const std::vector<float>& actual);

// What Run gives with query rows as wgmma's columns, the same of every number of columns that holds
// the plan's tiles: that is REQUIREd.
std::vector<float> RunSwapped(const Step& step, const DecodePlan& plan);

}  // namespace latentd::cuda
