// Absorbed attention against expanded attention in double, and the promise of equal bits.
#include "kernels/mla_attention.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/core/thread_pool.h"
#include "tests/kernels/support.h"

namespace latentd {
namespace {

constexpr int64_t kHeadDim = 8;  // d_n of the expanded keys

struct Model {
  int64_t num_heads = 4;
  int64_t num_groups = 4;
  int64_t width = 64;  // lanes in use; row_latent is this rounded up to 64
  int64_t rope_dim = 16;
  KeyNorm key_norm = KeyNorm::kNone;

  int64_t RowLatent() const { return (width + 63) / 64 * 64; }
  int64_t RowWidth() const { return RowLatent() + rope_dim; }
  int64_t RowBytes() const { return (2 * RowWidth() + 15) / 16 * 16; }
  int64_t AlphasPerToken() const { return key_norm == KeyNorm::kNone ? 0 : num_groups; }
  float Scale() const { return 1 / std::sqrt(static_cast<float>(kHeadDim + rope_dim)); }
};

// One sequence of random tokens. Queries and W_UK are small integers over 8, so that the absorbed
// query W_UKᵀ q is exact in bf16 and both routes start from the same numbers.
struct Sequence {
  Sequence(std::mt19937& rng, const Model& m, int64_t length)
      : model(m),
        length(length),
        c(RandomFloats(rng, length * m.width, 2)),
        k_rope(RandomFloats(rng, length * m.rope_dim)),
        alphas(length * m.num_groups, 1),
        w_uk(m.num_groups * kHeadDim * m.width),
        q_content(length * m.num_heads * kHeadDim),
        q_rope(RandomFloats(rng, length * m.num_heads * m.rope_dim)) {
    std::uniform_int_distribution<int> small(-3, 3);
    // The mean drifts along the sequence, so that a part of it left out shows.
    for (int64_t i = 0; i < length * m.width; ++i) {
      const auto drift = static_cast<float>(i / m.width) / static_cast<float>(length);
      c[i] = RoundToBf16(c[i] + drift);
    }
    for (float& value : k_rope) value = RoundToBf16(value);
    for (float& value : q_rope) value = RoundToBf16(value);
    for (float& value : w_uk) value = static_cast<float>(small(rng)) / 8;
    for (float& value : q_content) value = static_cast<float>(small(rng));
    if (m.key_norm == KeyNorm::kNone) return;
    for (int64_t t = 0; t < length; ++t) {
      for (int64_t g = 0; g < m.num_groups; ++g) alphas[t * m.num_groups + g] = InverseRms(t, g);
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
  std::vector<float> c, k_rope, alphas, w_uk, q_content, q_rope;
};

// A pool in which everything but the sequences' slots is NaN.
struct Pool {
  Pool(const Model& model, int64_t num_blocks)
      : model(model),
        layer{.rows = 512,
              .alphas = 512 + kBlockTokens * model.RowBytes(),
              .row_bytes = model.RowBytes()},
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
    auto* row = reinterpret_cast<bf16*>(block + layer.rows + slot * layer.row_bytes);
    std::fill_n(row, model.RowLatent(), bf16{0});
    for (int64_t j = 0; j < model.width; ++j) row[j] = ToBf16(sequence.c[t * model.width + j]);
    for (int64_t j = 0; j < model.rope_dim; ++j) {
      row[model.RowLatent() + j] = ToBf16(sequence.k_rope[t * model.rope_dim + j]);
    }
    auto* alphas = reinterpret_cast<float*>(block + layer.alphas) + slot * model.AlphasPerToken();
    std::copy_n(&sequence.alphas[t * model.num_groups], model.AlphasPerToken(), alphas);
  }

  Model model;
  LayerOffsets layer;
  int64_t block_granules;
  std::vector<std::byte> bytes;
};

MlaAttentionArgs Args(const Model& model, const Pool& pool) {
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
std::vector<float> Attend(const Context& context, const Sequence& sequence, const Pool& pool,
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

// Expanded attention of one row in double, and the error that the absorbed form may have.
//
// A score s = scale · (α (q̃·c) + q_R·kR) errs by at most (row width + 4) roundings of the sum of
// its terms' magnitudes: δ. A weight e^(s − m) then errs by e^(2δ) − 1 (its own score and the
// largest), by the exponential (3e-7) and by rounding p to bf16 (2^-8): ε in all. Since the weights
// are divided by their own sum, coordinate j errs by at most Σ p |c_t − z_j| ε / (1 − ε), plus one
// rounding of Σ p |c_t| for every step of the longest chain of sums: a unit's tokens, the units of
// a group, the groups, and 16 more within vectors and for the division. Weights below the smallest
// normal number become zero: 2^-126 more for each.
struct ExpandedRow {
  ExpandedRow(const Sequence& s, int64_t row) {
    const Model& m = s.model;
    const int64_t head = row % m.num_heads;
    const int64_t group = head * m.num_groups / m.num_heads;
    const int64_t num_tokens = row / m.num_heads + 1;
    std::vector<double> scores(num_tokens);
    double delta = 0;
    for (int64_t t = 0; t < num_tokens; ++t) {
      double magnitude = 0;
      scores[t] = Score(s, row, group, t, magnitude);
      delta = std::max(delta, static_cast<double>(m.RowWidth() + 4) * kHalfUlp * magnitude);
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    const double epsilon = std::expm1(2 * delta) + 3e-7 + kHalfUlpBf16;
    const auto depth =
        static_cast<double>(std::min(num_tokens, kUnitTokens) + 4 + num_tokens / kGroupTokens + 16);
    for (int64_t j = 0; j < m.RowLatent(); ++j) {
      const auto c = [&](int64_t t) { return j < m.width ? double{s.c[t * m.width + j]} : 0.0; };
      double mean = 0, magnitude = 0, spread = 0;
      for (int64_t t = 0; t < num_tokens; ++t) {
        mean += scores[t] / sum * c(t);
        magnitude += scores[t] / sum * std::fabs(c(t));
      }
      for (int64_t t = 0; t < num_tokens; ++t) spread += scores[t] / sum * std::fabs(c(t) - mean);
      z.push_back(mean);
      bound.push_back(spread * epsilon / (1 - epsilon) + depth * (kHalfUlp * magnitude + 0x1p-126));
    }
  }

  // The expanded score; magnitude is the sum of its absorbed terms' magnitudes.
  static double Score(const Sequence& s, int64_t row, int64_t group, int64_t t, double& magnitude) {
    const Model& m = s.model;
    const double alpha = s.alphas[t * m.num_groups + group];
    double content = 0;
    for (int64_t i = 0; i < kHeadDim; ++i) {
      content += s.q_content[row * kHeadDim + i] * s.ExpandedKey(t, group, i);
    }
    double content_magnitude = 0;
    for (int64_t j = 0; j < m.width; ++j) {
      double q = 0;
      for (int64_t i = 0; i < kHeadDim; ++i) {
        q += s.q_content[row * kHeadDim + i] * s.w_uk[(group * kHeadDim + i) * m.width + j];
      }
      content_magnitude += std::fabs(q * s.c[t * m.width + j]);
    }
    double rotary = 0, rotary_magnitude = 0;
    for (int64_t i = 0; i < m.rope_dim; ++i) {
      const double term = double{s.q_rope[row * m.rope_dim + i]} * s.k_rope[t * m.rope_dim + i];
      rotary += term;
      rotary_magnitude += std::fabs(term);
    }
    const double rotary_alpha = m.key_norm == KeyNorm::kUnified ? alpha : 1;
    magnitude = m.Scale() * (alpha * content_magnitude + rotary_alpha * rotary_magnitude);
    return m.Scale() * (alpha * content + rotary_alpha * rotary);
  }

  std::vector<double> z, bound;
};

std::string Describe(CpuPath path, const Model& m) {
  return std::string(Name(path)) + " H " + std::to_string(m.num_heads) + " G " +
         std::to_string(m.num_groups) + " width " + std::to_string(m.width) + " d_r " +
         std::to_string(m.rope_dim) + " norm " + std::to_string(static_cast<int>(m.key_norm));
}

std::vector<Model> Models() {
  std::vector<Model> models;
  for (const KeyNorm key_norm : {KeyNorm::kNone, KeyNorm::kBlockwise, KeyNorm::kUnified}) {
    models.push_back({4, 4, 64, 16, key_norm});
    models.push_back({12, 4, 128, 32, key_norm});
    models.push_back({3, 1, 64, 0, key_norm});
    models.push_back({5, 5, 100, 6, key_norm});  // a width and a rotary part that fill no vector
    models.push_back({1, 1, 1, 2, key_norm});
    models.push_back({2, 1, 192, 50, key_norm});
    models.push_back({16, 16, 576, 64, key_norm});
  }
  return models;
}

TEST_CASE("absorbed attention equals expanded attention on every path") {
  std::mt19937 rng(1);
  for (const Model& model : Models()) {
    const int64_t length = 131;
    const Sequence sequence(rng, model, length);
    Pool pool(model, 5);
    const std::vector<uint32_t> table = pool.Write(sequence, rng, 5);
    const std::vector<float> q = sequence.AbsorbedQueries();
    // Of a large model only the last tokens, to keep the oracles short.
    const int64_t first = model.num_heads * model.RowWidth() > 2000 ? length - 3 : 0;
    const int64_t rows = length * model.num_heads;
    std::vector<double> expected, bound;
    const int64_t row_step = std::max<int64_t>(1, rows / 40) | 1;  // odd: meets every head
    for (int64_t row = first * model.num_heads; row < rows; row += row_step) {
      const ExpandedRow expanded(sequence, row);
      expected.insert(expected.end(), expanded.z.begin(), expanded.z.end());
      bound.insert(bound.end(), expanded.bound.begin(), expanded.bound.end());
    }
    for (const CpuPath path : RunnablePaths()) {
      const std::vector<float> out =
          Attend({path, nullptr}, sequence, pool, table, q, first, length);
      std::vector<float> compared;
      for (int64_t row = first * model.num_heads; row < rows; row += row_step) {
        const auto begin = out.begin() + (row - first * model.num_heads) * model.RowLatent();
        compared.insert(compared.end(), begin, begin + model.RowLatent());
      }
      RequireWithin(compared, expected, bound, Describe(path, model));
    }
  }
}

TEST_CASE("chunks, threads and block order do not change a bit") {
  std::mt19937 rng(2);
  ThreadPool two(2);
  const int64_t length = 200;
  for (const Model& model :
       {Model{4, 2, 64, 16, KeyNorm::kBlockwise}, Model{3, 3, 100, 10, KeyNorm::kUnified},
        Model{10, 10, 128, 64, KeyNorm::kNone}}) {
    const Sequence sequence(rng, model, length);
    Pool pool(model, 4), other(model, 7);
    const std::vector<uint32_t> table = pool.Write(sequence, rng, 4);
    const std::vector<uint32_t> other_table = other.Write(sequence, rng, 7);
    const std::vector<float> q = sequence.AbsorbedQueries();
    for (const CpuPath path : RunnablePaths()) {
      const std::vector<float> alone = Attend({path, nullptr}, sequence, pool, table, q, 0, 1);
      for (const int64_t chunk : {int64_t{1}, int64_t{63}, int64_t{64}, int64_t{65}, length}) {
        if (path == CpuPath::kScalar && chunk != 65) continue;  // one row at a time, only slower
        const std::string what = Describe(path, model) + " chunk " + std::to_string(chunk);
        // Token by token only the last ones: many small parallel loops are slow on a busy machine.
        const int64_t first = chunk == 1 ? length - 20 : 0;
        const auto expected = std::span(alone).subspan(first * model.num_heads * model.RowLatent());
        RequireSameBits(Attend({path, &two}, sequence, other, other_table, q, first, chunk),
                        expected, what);
        if (chunk == 1) continue;
        RequireSameBits(Attend({path, nullptr}, sequence, pool, table, q, 0, chunk), alone, what);
      }
    }
  }
}

// Long enough for units and groups to be folded, whole (no pool), by units and by groups.
TEST_CASE("splitting a long context over threads does not change a bit") {
  std::mt19937 rng(3);
  ThreadPool three(3);
  const Model model = {3, 1, 64, 4, KeyNorm::kBlockwise};
  for (const int64_t length : {513, 2049, 4700, 8193, 262'144}) {
    const int64_t first = length - 10;
    Sequence sequence(rng, model, length);
    Pool pool(model, length / 64 + 1);
    const std::vector<uint32_t> table = pool.Write(sequence, rng, length / 64 + 1);
    const std::vector<float> q = sequence.AbsorbedQueries(first);
    for (const CpuPath path : RunnablePaths()) {
      if (path == CpuPath::kScalar && length > 513) continue;  // has no split, only time
      const std::vector<float> whole = Attend({path, nullptr}, sequence, pool, table, q, first, 10);
      const std::string what = Describe(path, model) + " length " + std::to_string(length);
      RequireSameBits(Attend({path, &three}, sequence, pool, table, q, first, 10), whole, what);
      RequireSameBits(Attend({path, &three}, sequence, pool, table, q, first, 1), whole, what);
      const int64_t last_row = length * model.num_heads - 1;
      const ExpandedRow expanded(sequence, last_row);
      RequireWithin(std::span(whole).last(model.RowLatent()), expanded.z, expanded.bound, what);
    }
  }
}

// Sequences of different lengths in one call have the bits they have alone; nothing else is
// written.
TEST_CASE("a batch of sequences computes each as it is alone") {
  std::mt19937 rng(4);
  ThreadPool two(2);
  const Model model = {6, 2, 64, 8, KeyNorm::kUnified};
  const int64_t lengths[] = {1, 700, 64, 65, 130};
  const int64_t new_tokens[] = {1, 1, 3, 65, 0};
  for (const CpuPath path : RunnablePaths()) {
    std::vector<std::vector<uint32_t>> tables;
    std::vector<AttentionSequence> sequences;
    std::vector<float> q, expected;
    Pool pool(model, 40);
    int64_t first_row = 0;
    int64_t next_block = 0;
    for (int i = 0; i < 5; ++i) {
      const Sequence sequence(rng, model, lengths[i]);
      Pool single(model, 40);
      std::vector<uint32_t> table = single.Write(sequence, rng, 8 + 8);
      // Moves the blocks into the common pool.
      for (uint32_t& granule : std::span(table).first(table.size() - 1)) {
        const auto from = single.bytes.begin() + granule * kGranuleBytes;
        const int64_t to = next_block++ * pool.block_granules;
        std::copy(from, from + pool.block_granules * kGranuleBytes,
                  pool.bytes.begin() + to * kGranuleBytes);
        granule = static_cast<uint32_t>(to);
      }
      const std::vector<float> all_q = sequence.AbsorbedQueries();
      const int64_t first = lengths[i] - new_tokens[i];
      const auto begin = all_q.begin() + first * model.num_heads * model.RowWidth();
      q.insert(q.end(), begin, all_q.end());
      const std::vector<float> alone =
          Attend({path, nullptr}, sequence, pool, table, all_q, first, 1);
      expected.insert(expected.end(), alone.begin(), alone.end());
      tables.push_back(std::move(table));
      sequences.push_back({.block_table = {},
                           .first_row = first_row,
                           .num_tokens = new_tokens[i],
                           .first_position = first});
      first_row += new_tokens[i];
    }
    for (size_t i = 0; i < sequences.size(); ++i) sequences[i].block_table = tables[i];
    const int64_t rows = first_row * model.num_heads;
    std::vector<float> out((rows + 1) * model.RowLatent(), 7);
    MlaAttentionArgs args = Args(model, pool);
    args.q = View(q, rows, model.RowWidth());
    args.out = View(out, rows, model.RowLatent());
    args.sequences = sequences;
    MlaAttention({path, &two}, args);
    CHECK(std::all_of(out.end() - model.RowLatent(), out.end(), [](float x) { return x == 7; }));
    RequireSameBits(std::span(out).first(expected.size()), expected, Describe(path, model));
  }
}

// A later token of the same chunk may hold anything at all: infinities, say, after an overflow.
TEST_CASE("a token never touches the rows before it") {
  std::mt19937 rng(5);
  const Model model = {4, 4, 64, 16, KeyNorm::kBlockwise};
  for (const int64_t length : {2, 7, 64, 65, 66, 100}) {
    Sequence sequence(rng, model, length);
    const std::vector<float> q = sequence.AbsorbedQueries();
    Pool clean(model, 3);
    const std::vector<uint32_t> table = clean.Write(sequence, rng, 3);
    Pool dirty = clean;
    std::fill_n(&sequence.c[(length - 1) * model.width], model.width,
                std::numeric_limits<float>::infinity());
    dirty.WriteToken(sequence, length - 1, table);
    const int64_t before = (length - 1) * model.num_heads * model.RowLatent();
    for (const CpuPath path : RunnablePaths()) {
      const std::vector<float> expected =
          Attend({path, nullptr}, sequence, clean, table, q, 0, length);
      const std::vector<float> actual =
          Attend({path, nullptr}, sequence, dirty, table, q, 0, length);
      RequireSameBits(std::span(actual).first(before), std::span(expected).first(before),
                      Describe(path, model) + " length " + std::to_string(length));
    }
  }
}

}  // namespace
}  // namespace latentd
