// What the tests of absorbed attention work on: random sequences, written into blocks, and their
// attention in chunks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/mla_attention.h"
#include "tests/kernels/support.h"

namespace latentd {

constexpr int64_t kHeadDim = 8;  // d_n of the expanded keys

struct Model {
  int64_t num_heads = 4;
  int64_t num_groups = 4;
  int64_t width = 64;  // lanes in use; row_latent is this rounded up to 64
  int64_t rope_dim = 16;
  KeyNorm key_norm = KeyNorm::kNone;
  CacheFormat format = CacheFormat::kBf16;

  bool IsInt8() const { return format == CacheFormat::kInt8; }
  int64_t RowLatent() const { return (width + 63) / 64 * 64; }
  int64_t RowWidth() const { return RowLatent() + rope_dim; }
  int64_t RowBytes() const {
    return ((IsInt8() ? 1 : 2) * RowLatent() + 2 * rope_dim + 15) / 16 * 16;
  }
  int64_t AlphasPerToken() const { return key_norm == KeyNorm::kNone ? 0 : num_groups; }
  float Scale() const { return 1 / std::sqrt(static_cast<float>(kHeadDim + rope_dim)); }
};

// One sequence of random tokens; c is exactly what the cache says it is. Queries and W_UK are small
// integers over 8, so that the absorbed query W_UKᵀ q is exact in bf16 and both routes start from
// the same numbers.
struct Sequence {
  Sequence(std::mt19937& rng, const Model& m, int64_t length)
      : model(m),
        length(length),
        c(length * m.width),
        numbers(m.IsInt8() ? length * m.width : 0),
        scales(m.IsInt8() ? length : 0),
        k_rope(RandomFloats(rng, length * m.rope_dim)),
        alphas(length * m.num_groups, 1),
        w_uk(m.num_groups * kHeadDim * m.width),
        q_content(length * m.num_heads * kHeadDim),
        q_rope(RandomFloats(rng, length * m.num_heads * m.rope_dim)) {
    std::uniform_int_distribution<int> small(-3, 3);
    // The mean drifts along the sequence, so that a part of it left out shows.
    const std::vector<float> random = RandomFloats(rng, length * m.width, 2);
    for (int64_t i = 0; i < length * m.width; ++i) {
      const auto drift = static_cast<float>(i / m.width) / static_cast<float>(length);
      c[i] = RoundToBf16(random[i] + drift);
    }
    for (int64_t t = 0; m.IsInt8() && t < length; ++t) Quantise(t);
    for (float& value : k_rope) value = RoundToBf16(value);
    for (float& value : q_rope) value = RoundToBf16(value);
    for (float& value : w_uk) value = static_cast<float>(small(rng)) / 8;
    for (float& value : q_content) value = static_cast<float>(small(rng));
    if (m.key_norm == KeyNorm::kNone) return;
    for (int64_t t = 0; t < length; ++t) {
      for (int64_t g = 0; g < m.num_groups; ++g) alphas[t * m.num_groups + g] = InverseRms(t, g);
    }
  }

  // Tokens differ in size, and every 16th is zero.
  void Quantise(int64_t t) {
    const auto size = static_cast<float>(t % 16 == 5 ? 0 : 1 + t % 3);
    double* row = &c[t * model.width];
    double largest = 0;
    for (int64_t j = 0; j < model.width; ++j) largest = std::max(largest, std::fabs(row[j]));
    scales[t] = size * static_cast<float>(largest) / 127;
    for (int64_t j = 0; j < model.width; ++j) {
      const double number = size == 0 ? 0 : std::nearbyint(row[j] * 127 / largest);
      numbers[t * model.width + j] = static_cast<int8_t>(number);
      row[j] = number * scales[t];
    }
  }

  double ExpandedKey(int64_t t, int64_t g, int64_t i) const {
    const float* row = &w_uk[(g * kHeadDim + i) * model.width];
    return std::inner_product(row, row + model.width, &c[t * model.width], 0.0);
  }
  float InverseRms(int64_t t, int64_t g) const {
    double sum = 0;
    for (int64_t i = 0; i < kHeadDim; ++i) sum += std::pow(ExpandedKey(t, g, i), 2);
    int64_t count = kHeadDim;
    if (model.key_norm == KeyNorm::kUnified) {
      const float* rope = k_rope.data() + t * model.rope_dim;
      sum = std::inner_product(rope, rope + model.rope_dim, rope, sum);
      count += model.rope_dim;
    }
    return static_cast<float>(1 / std::sqrt(sum / static_cast<double>(count) + 1e-6));
  }

  // [(length − first) · H, row width]: the absorbed queries of the tokens from `first` on.
  std::vector<float> AbsorbedQueries(int64_t first = 0) const {
    const int64_t first_row = first * model.num_heads, end_row = length * model.num_heads;
    std::vector<float> q((end_row - first_row) * model.RowWidth());
    for (int64_t row = first_row; row < end_row; ++row) {
      const int64_t group = row % model.num_heads * model.num_groups / model.num_heads;
      float* to = &q[(row - first_row) * model.RowWidth()];
      for (int64_t j = 0; j < model.width; ++j) {
        for (int64_t i = 0; i < kHeadDim; ++i) {
          to[j] += q_content[row * kHeadDim + i] * w_uk[(group * kHeadDim + i) * model.width + j];
        }
      }
      std::copy_n(q_rope.data() + row * model.rope_dim, model.rope_dim, to + model.RowLatent());
    }
    return q;
  }

  Model model;
  int64_t length;
  std::vector<double> c;
  std::vector<int8_t> numbers;  // of int8
  std::vector<float> scales, k_rope, alphas, w_uk, q_content, q_rope;
};

// A pool in which everything but the sequences' slots is NaN.
struct Pool {
  Pool(const Model& model, int64_t num_blocks)
      : model(model),
        layer{.rows = 512,
              .scales = 512 + kBlockTokens * model.RowBytes(),
              .alphas = 512 + kBlockTokens * (model.RowBytes() + (model.IsInt8() ? 4 : 0)),
              .row_bytes = model.RowBytes(),
              .format = model.format},
        block_granules((layer.alphas + kBlockTokens * 4 * model.AlphasPerToken()) / kGranuleBytes +
                       1),
        bytes((num_blocks + 1) * block_granules * kGranuleBytes, std::byte{0xff}) {}

  // Writes a sequence into blocks of a random order; returns its table, with a tail that must not
  // be read.
  std::vector<uint32_t> Write(const Sequence& sequence, std::mt19937& rng, int64_t num_blocks) {
    std::vector<uint32_t> table(num_blocks);
    for (int64_t i = 0; i < num_blocks; ++i) table[i] = static_cast<uint32_t>(i * block_granules);
    std::shuffle(table.begin(), table.end(), rng);
    for (int64_t t = 0; t < sequence.length; ++t) WriteToken(sequence, t, table);
    table.resize((sequence.length + kBlockTokens - 1) / kBlockTokens);
    table.push_back(0xffffffff);
    return table;
  }
  void WriteToken(const Sequence& sequence, int64_t t, const std::vector<uint32_t>& table) {
    std::byte* block = &bytes[table[t / kBlockTokens] * kGranuleBytes];
    const int64_t slot = t % kBlockTokens;
    std::byte* row = block + layer.rows + slot * layer.row_bytes;
    std::fill_n(row, model.RowLatent() * LatentBytes(model.format), std::byte{0});
    if (model.IsInt8()) {
      std::memcpy(row, &sequence.numbers[t * model.width], static_cast<size_t>(model.width));
      reinterpret_cast<float*>(block + layer.scales)[slot] = sequence.scales[t];
    } else {
      auto* to = reinterpret_cast<bf16*>(row);
      for (int64_t j = 0; j < model.width; ++j) {
        to[j] = ToBf16(static_cast<float>(sequence.c[t * model.width + j]));
      }
    }
    auto* rope = reinterpret_cast<bf16*>(row + model.RowLatent() * LatentBytes(model.format));
    for (int64_t j = 0; j < model.rope_dim; ++j) {
      rope[j] = ToBf16(sequence.k_rope[t * model.rope_dim + j]);
    }
    auto* alphas = reinterpret_cast<float*>(block + layer.alphas) + slot * model.AlphasPerToken();
    std::copy_n(&sequence.alphas[t * model.num_groups], model.AlphasPerToken(), alphas);
  }

  Model model;
  LayerOffsets layer;
  int64_t block_granules;
  std::vector<std::byte> bytes;
};

inline MlaAttentionArgs Args(const Model& model, const Pool& pool) {
  MlaAttentionArgs args;
  args.num_heads = model.num_heads;
  args.num_kv_groups = model.num_groups;
  args.row_latent = model.RowLatent();
  args.rope_dim = model.rope_dim;
  args.key_norm = model.key_norm;
  args.softmax_scale = model.Scale();
  args.pool = pool.bytes.data();
  args.layer = pool.layer;
  return args;
}

// Tokens [first, length) of a sequence, in chunks of `chunk`; q ends with their queries.
inline std::vector<float> Attend(const Context& context, const Sequence& sequence, const Pool& pool,
                                 const std::vector<uint32_t>& table, std::span<const float> q,
                                 int64_t first, int64_t chunk) {
  const Model& model = sequence.model;
  const int64_t rows = (sequence.length - first) * model.num_heads;
  q = q.last(rows * model.RowWidth());
  std::vector<float> out(rows * model.RowLatent(), std::numeric_limits<float>::quiet_NaN());
  for (int64_t token = first; token < sequence.length; token += chunk) {
    const AttentionSequence part = {.block_table = table,
                                    .first_row = token - first,
                                    .num_tokens = std::min(chunk, sequence.length - token),
                                    .first_position = token};
    MlaAttentionArgs args = Args(model, pool);
    args.q = {q.data(), rows, model.RowWidth(), model.RowWidth()};
    args.out = View(out, rows, model.RowLatent());
    args.sequences = std::span(&part, 1);
    MlaAttention(context, args);
  }
  return out;
}

inline std::string Describe(CpuPath path, const Model& m) {
  return std::string(Name(path)) + " H " + std::to_string(m.num_heads) + " G " +
         std::to_string(m.num_groups) + " width " + std::to_string(m.width) + " d_r " +
         std::to_string(m.rope_dim) + " norm " + std::to_string(static_cast<int>(m.key_norm)) +
         (m.IsInt8() ? " int8" : "");
}

}  // namespace latentd
