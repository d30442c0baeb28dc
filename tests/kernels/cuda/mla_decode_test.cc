// The decode attention, emulated or on a device, against the CPU oracle; and its promise of equal
// bits.
#include "kernels/cuda/mla_decode.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/cuda/decode_runner.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

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
       const std::vector<int64_t>& new_tokens)
      : shape(shape) {
    layer = {.rows = 512,
             .alphas = 512 + kBlockTokens * shape.RowBytes(),
             .row_bytes = shape.RowBytes()};
    const int64_t block_bytes = layer.alphas + kBlockTokens * 4 * shape.num_groups;
    const int64_t block_granules = (block_bytes + kGranuleBytes - 1) / kGranuleBytes;
    std::vector<uint32_t> free;
    uint32_t next = 0;
    int64_t num_blocks = 0;
    for (const int64_t length : lengths) num_blocks += (length + kBlockTokens - 1) / kBlockTokens;
    for (int64_t i = 0; i < num_blocks; ++i) {
      next += std::uniform_int_distribution<uint32_t>(0, 2)(rng);
      free.push_back(next);
      next += static_cast<uint32_t>(block_granules);
    }
    std::shuffle(free.begin(), free.end(), rng);
    pool.assign(next * static_cast<size_t>(kGranuleBytes), std::byte{0xff});
    table_ld = 1 + (*std::max_element(lengths.begin(), lengths.end()) + 63) / 64;
    tables.assign(lengths.size() * static_cast<size_t>(table_ld), 0xffffffff);
    int64_t row = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      uint32_t* table = &tables[i * static_cast<size_t>(table_ld)];
      const auto blocks = static_cast<size_t>((lengths[i] + 63) / 64);
      std::copy(free.end() - static_cast<std::ptrdiff_t>(blocks), free.end(), table);
      free.resize(free.size() - blocks);
      for (int64_t t = 0; t < lengths[i]; ++t) WriteToken(rng, table, t, lengths[i]);
      sequences.push_back({{table, blocks}, row, new_tokens[i], lengths[i] - new_tokens[i]});
      row += new_tokens[i];
    }
    q_rows = row * shape.num_heads;
    // Rows past the last token's, padding of rows and what TMA must not take for lanes: all NaN.
    q.assign(static_cast<size_t>(q_rows * shape.QueryLd()), bf16{0xffff});
    for (int64_t i = 0; i < q_rows; ++i) {
      const std::vector<float> values = RandomFloats(rng, shape.RowWidth(), 2);
      std::transform(values.begin(), values.end(), &q[static_cast<size_t>(i * shape.QueryLd())],
                     ToBf16);
    }
  }

  // The mean drifts along the sequence, so that a part of it left out shows.
  void WriteToken(std::mt19937& rng, const uint32_t* table, int64_t t, int64_t length) {
    std::byte* block = &pool[table[t / 64] * static_cast<size_t>(kGranuleBytes)];
    auto* row = reinterpret_cast<bf16*>(block + layer.rows + t % 64 * layer.row_bytes);
    const float drift = static_cast<float>(t) / static_cast<float>(length);
    const std::vector<float> values = RandomFloats(rng, shape.RowWidth(), 2);
    for (int64_t j = 0; j < shape.RowWidth(); ++j) {
      row[j] = ToBf16(values[static_cast<size_t>(j)] + (j < shape.row_latent ? drift : 0));
    }
    auto* alphas = reinterpret_cast<float*>(block + layer.alphas) + t % 64 * shape.num_groups;
    const std::vector<float> random = RandomFloats(rng, shape.num_groups, 0.75f);
    for (int g = 0; g < shape.num_groups; ++g) alphas[g] = 1 + random[static_cast<size_t>(g)];
  }

  // A step without its sequences but one, or without its first tokens.
  Step Only(size_t sequence, int64_t token, int64_t num_tokens) const {
    Step other = *this;
    const AttentionSequence& from = sequences[sequence];
    other.sequences = {
        {from.block_table, from.first_row + token, num_tokens, from.first_position + token}};
    std::copy_n(&tables[sequence * static_cast<size_t>(table_ld)], table_ld, other.tables.begin());
    return other;
  }

  // Rows [first, first + num_tokens) of the step, heads and lanes after one another.
  std::vector<float> Run(const DecodePlan& plan) const {
    const int64_t slot_floats = plan.slot_rows * SlotRowFloats(shape.row_latent);
    std::vector<float> partials(static_cast<size_t>(plan.num_slots * slot_floats), kNan);
    std::vector<float> out(static_cast<size_t>(q_rows * shape.row_latent), kNan);
    MlaDecodeArgs args;
    args.q = q.data();
    args.q_rows = q_rows;
    args.q_ld = shape.QueryLd();
    args.out = out.data();
    args.num_heads = shape.num_heads;
    args.num_kv_groups = shape.num_groups;
    args.row_latent = shape.row_latent;
    args.rope_dim = shape.rope_dim;
    args.key_norm = shape.key_norm;
    args.softmax_scale = shape.Scale();
    args.pool = pool.data();
    args.pool_bytes = static_cast<int64_t>(pool.size());
    args.layer = layer;
    args.block_tables = tables.data();
    args.block_table_ld = table_ld;
    args.items = plan.items.data();
    args.row_tiles = plan.row_tiles.data();
    args.plan = &plan;
    args.partials = partials.data();
    RunMlaDecode(args, static_cast<int64_t>(tables.size()) / table_ld);
    return out;
  }

  std::vector<float> Oracle() const {
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

  static constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  Shape shape;
  LayerOffsets layer;
  std::vector<std::byte> pool;
  std::vector<uint32_t> tables;
  int64_t table_ld = 0;
  std::vector<AttentionSequence> sequences;
  std::vector<bf16> q;
  int64_t q_rows = 0;
};

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

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (const KeyNorm norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    shapes.push_back({12, 4, 64, 32, norm});  // one chunk: warpgroup 0 has no columns
    shapes.push_back({5, 5, 128, 6, norm});   // a rotary part that fills no 16 bytes
    shapes.push_back({16, 1, 192, 0, norm});  // no rotary part, halves of unequal width
    shapes.push_back({63, 3, 64, 64, norm});
    shapes.push_back({16, 16, 512, 64, norm});
  }
  shapes.push_back({128, 128, 64, 50, KeyNorm::kUnified});  // two tiles of rows
  shapes.push_back({65, 5, 128, 1, KeyNorm::kBlockwise});   // a tile with one row
  for (const int latent : {256, 320, 384, 448}) {
    shapes.push_back({2, 2, latent, 64, KeyNorm::kBlockwise});
  }
  return shapes;
}

TEST_CASE("the decode attention agrees with the oracle", "[small]") {
  std::mt19937 rng(11);
  for (const Shape& shape : Shapes()) {
    const Step step(rng, shape, {130, 1, 64, 65}, {1, 1, 3, 2});
    RequireNearOracle(step, step.Run(PlanDecode(step.sequences, shape.num_heads, 5)));
  }
}

TEST_CASE("random geometries agree with the oracle") {
  std::mt19937 rng(12);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution(low, high)(rng);
  };
  for (int round = 0; round < 12; ++round) {
    const int groups = pick(1, 8);
    const Shape shape = {groups * pick(1, 8), groups, 64 * pick(1, 4), pick(0, 64),
                         static_cast<KeyNorm>(pick(0, 2))};
    std::vector<int64_t> lengths, new_tokens;
    for (int i = pick(1, 3); i > 0; --i) {
      lengths.push_back(pick(1, 300));
      new_tokens.push_back(std::min<int64_t>(pick(1, 5), lengths.back()));
    }
    const Step step(rng, shape, lengths, new_tokens);
    RequireNearOracle(step, step.Run(PlanDecode(step.sequences, shape.num_heads, pick(1, 7))));
  }
}

TEST_CASE("long contexts agree with the oracle, and items of any span give the same bits",
          "[small]") {
  std::mt19937 rng(13);
  const Shape shape = {3, 1, 64, 16, KeyNorm::kBlockwise};
  for (const int64_t length : {513, 2048, 2100, 4700}) {
    const Step step(rng, shape, {length}, {2});
    const DecodePlan units = PlanDecodeWith(step.sequences, shape.num_heads, 132, kUnitTokens);
    const DecodePlan groups = PlanDecodeWith(step.sequences, shape.num_heads, 2, kGroupTokens);
    const std::vector<float> out = step.Run(units);
    RequireNearOracle(step, out);
    RequireSameBits(step.Run(groups), out, std::to_string(length) + " tokens");
  }
}

TEST_CASE("a row has the bits that it has alone, in any batch and any packing of queries") {
  std::mt19937 rng(14);
  const Shape shape = {24, 4, 128, 32, KeyNorm::kUnified};
  const Step step(rng, shape, {70, 600, 127}, {3, 6, 1});
  const std::vector<float> together = step.Run(PlanDecode(step.sequences, shape.num_heads, 2));
  for (size_t i = 0; i < step.sequences.size(); ++i) {
    for (int64_t token = 0; token < step.sequences[i].num_tokens; ++token) {
      const Step alone = step.Only(i, token, 1);
      const std::vector<float> out = alone.Run(PlanDecode(alone.sequences, shape.num_heads, 132));
      const int64_t row = (step.sequences[i].first_row + token) * shape.num_heads;
      const auto begin = static_cast<size_t>(row * shape.row_latent);
      const auto count = static_cast<size_t>(shape.num_heads * shape.row_latent);
      RequireSameBits(std::span(out).subspan(begin, count),
                      std::span(together).subspan(begin, count),
                      "sequence " + std::to_string(i) + " token " + std::to_string(token));
    }
  }
}

// As a recorded launch has it: room for more tokens than there are, and items without rows behind
// those of every thread block, or for it alone.
TEST_CASE("a padded plan keeps every row's bits, and rows beyond are the first token's",
          "[small]") {
  std::mt19937 rng(15);
  for (const int heads : {12, 70}) {
    const Shape shape = {heads, 2, 64, 16, KeyNorm::kBlockwise};
    const Step step(rng, shape, {600, 65, 130}, {1, 1, 1});
    const std::vector<float> expected = step.Run(PlanDecode(step.sequences, heads, 132));
    Step roomy = step;
    roomy.q_rows = 5 * heads;
    roomy.q.resize(static_cast<size_t>(roomy.q_rows * shape.QueryLd()), bf16{0xffff});
    const auto token_floats = static_cast<size_t>(heads * shape.row_latent);
    for (const int64_t span : {kUnitTokens, kGroupTokens}) {
      for (const int processors : {1, 3, 20}) {
        DecodePlan plan = PlanDecodeWith(step.sequences, heads, processors, span);
        PadPlan(3, 5, heads, processors, &plan);
        const std::vector<float> out = roomy.Run(plan);
        const std::string what = shape.Describe() + " on " + std::to_string(processors);
        RequireSameBits(std::span(out).first(3 * token_floats), expected, what);
        for (const size_t token : {3, 4}) {
          RequireSameBits(std::span(out).subspan(token * token_floats, token_floats),
                          std::span(expected).first(token_floats), what + ", padding");
        }
      }
    }
  }
}

}  // namespace
}  // namespace latentd::cuda
