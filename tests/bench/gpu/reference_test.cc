#include "bench/gpu/peers/reference.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "bench/gpu/peers/agreement.h"
#include "kernels/cuda/measure/traffic_body.h"

namespace latentd::bench {
namespace {

// The numbers that FillRandom gives, on the host.
std::vector<std::byte> RandomBytes(int64_t bytes, uint32_t seed) {
  std::vector<std::byte> made(static_cast<size_t>(bytes));
  for (size_t i = 0; i < made.size() / 4; ++i) {
    const uint32_t pair = cuda::RandomPair(i, seed);
    std::memcpy(&made[4 * i], &pair, 4);
  }
  return made;
}
std::vector<bf16> RandomRows(int64_t values, uint32_t seed) {
  const std::vector<std::byte> bytes = RandomBytes(2 * values, seed);
  std::vector<bf16> rows(static_cast<size_t>(values));
  std::memcpy(rows.data(), bytes.data(), bytes.size());
  return rows;
}

// A case with both attentions' inputs.
struct Case {
  explicit Case(const DecodeShape& of)
      : shape(of),
        q(RandomRows(of.QueryRows() * of.RowWidth(), 2)),
        pool(RandomBytes(PoolBytes(of), 5)),
        tables(RandomTables(of, 1)) {}

  std::vector<double> Reference() const { return ReferenceDecode(shape, q, pool, tables, kScale); }
  // The CPU's scalar attention.
  std::vector<float> Kernel() const {
    std::vector<float> wide, out(static_cast<size_t>(shape.QueryRows() * shape.row_latent));
    for (const bf16 value : q) wide.push_back(ToFloat(value));
    const std::vector<AttentionSequence> sequences = Sequences(shape, tables);
    MlaAttentionArgs args;
    args.q = {wide.data(), shape.QueryRows(), shape.RowWidth(), shape.RowWidth()};
    args.out = {out.data(), shape.QueryRows(), shape.row_latent, shape.row_latent};
    args.num_heads = shape.num_heads;
    args.row_latent = shape.row_latent;
    args.rope_dim = shape.rope_dim;
    args.softmax_scale = kScale;
    args.pool = pool.data();
    args.layer = LayerOf(shape);
    args.sequences = sequences;
    MlaAttention(Context{}, args);
    return out;
  }

  static constexpr float kScale = 1.0f / 24;
  DecodeShape shape;
  std::vector<bf16> q;
  std::vector<std::byte> pool;
  std::vector<uint32_t> tables;
};

TEST_CASE("the reference is the attention of the CPU's kernel, but for rounding") {
  const DecodeShape shapes[] = {{.batch = 3, .context = 30, .num_heads = 16},
                                {.batch = 2, .context = 65, .num_heads = 4},
                                {.batch = 2, .context = 300, .query_tokens = 8, .num_heads = 2}};
  for (const DecodeShape& shape : shapes) {
    const Case one(shape);
    const Worst worst = WorstOf(one.Kernel(), one.Reference(), shape.row_latent);
    INFO("context " << shape.context << ", row " << worst.row << ", lane " << worst.lane << ": "
                    << worst.got << ", expected " << worst.expected);
    // Of what kMostDifference adds up, weights and scores are all that it rounds.
    CHECK(worst.difference <= 0x1p-9 + 2 * 0x1p-10);
    CHECK(worst.difference > 0);
  }
}

TEST_CASE("by hand: two tokens, of which the first query token sees one") {
  const DecodeShape shape = {.batch = 1,
                             .context = 2,
                             .query_tokens = 2,
                             .num_heads = 1,
                             .row_latent = 64,
                             .rope_dim = 64};
  std::vector<bf16> q(2 * 128, ToBf16(0)), rows(64 * 128, ToBf16(0));
  q[128] = q[128 + 127] = ToBf16(1);  // lane 0 and the last of the key, of the second query
  rows[0] = ToBf16(1);                // token 0: its lane 0
  rows[128] = ToBf16(3);              // token 1: the same lane, and its key
  rows[128 + 127] = ToBf16(-2);
  const std::vector<std::byte> pool(reinterpret_cast<std::byte*>(rows.data()),
                                    reinterpret_cast<std::byte*>(rows.data() + rows.size()));
  const std::vector<double> out = ReferenceDecode(shape, q, pool, {0}, std::log(3.0));
  // Both scores of the second query are log 3 · 1: it takes the mean.
  CHECK(out[0] == 1);
  CHECK(out[64] == Approx(2).epsilon(1e-14));
  // With scores log 3 and log 9 it takes (3 · 1 + 9 · 3) / 12.
  rows[128 + 127] = ToBf16(-1);
  const std::vector<std::byte> other(reinterpret_cast<std::byte*>(rows.data()),
                                     reinterpret_cast<std::byte*>(rows.data() + rows.size()));
  CHECK(ReferenceDecode(shape, q, other, {0}, std::log(3.0))[64] == Approx(2.5).epsilon(1e-14));
}

// What a peer that is called wrongly computes is found out.
TEST_CASE("a wrong call lies beyond the bounds") {
  const Case right({.batch = 3, .context = 30, .num_heads = 16});
  const std::vector<double> expected = right.Reference();
  const auto differs = [&](const Case& wrong) {
    return WorstOf(wrong.Kernel(), expected, right.shape.row_latent).difference > kMostDifference;
  };
  CHECK(!differs(right));
  Case wrong = right;
  wrong.shape.context = 29;  // the last token is not seen
  CHECK(differs(wrong));
  wrong = right;
  wrong.shape.context = 31;  // nor may one more be
  CHECK(differs(wrong));
  wrong = right;
  std::swap(wrong.tables[0], wrong.tables[1]);
  CHECK(differs(wrong));
  wrong = right;
  std::swap_ranges(wrong.q.begin(), wrong.q.begin() + 576, wrong.q.begin() + 576);  // two heads
  CHECK(differs(wrong));
}

TEST_CASE("a block that a row misses moves it, in a long context too") {
  const Case right({.batch = 1, .context = 8192, .num_heads = 1});
  Case wrong = right;
  wrong.shape.context -= kBlockTokens;
  const std::vector<float> whole = right.Kernel();
  const double apart = FarthestRow(wrong.Kernel(), whole, 512);
  CHECK(apart > std::sqrt(64.0 / 8192) / 2);
  CHECK(apart > kMostDistance);
  // Rounded outputs, as a peer's are, are not far.
  std::vector<float> rounded = whole;
  for (float& value : rounded) value = RoundToBf16(value);
  CHECK(FarthestRow(rounded, whole, 512) < 0x1p-9);
}

}  // namespace
}  // namespace latentd::bench
