// Absorbed attention's promise of equal bits.
#include <algorithm>
#include <catch2/catch.hpp>

#include "kernels/core/thread_pool.h"
#include "tests/kernels/mla_expanded_row.h"

namespace latentd {
namespace {

TEST_CASE("chunks, threads and block order do not change a bit") {
  std::mt19937 rng(2);
  ThreadPool two(2);
  const int64_t length = 200;
  for (const Model& model :
       {Model{4, 2, 64, 16, KeyNorm::kBlockwise}, Model{3, 3, 100, 10, KeyNorm::kUnified},
        Model{10, 10, 128, 64, KeyNorm::kNone},
        Model{4, 2, 64, 16, KeyNorm::kBlockwise, CacheFormat::kInt8},
        Model{3, 3, 100, 10, KeyNorm::kUnified, CacheFormat::kInt8}}) {
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
  const CacheFormat format = GENERATE(CacheFormat::kBf16, CacheFormat::kInt8);
  const Model model = {3, 1, 64, 4, KeyNorm::kBlockwise, format};
  for (const int64_t length : {513, 2049, 4700, 8193, 262'144}) {
    if (model.IsInt8() && length > 4700) continue;  // how it is cut does not depend on the format
    const int64_t first = length - 10;
    Sequence sequence(rng, model, length);
    Pool pool(model, length / 64 + 1);
    const std::vector<uint32_t> table = pool.Write(sequence, rng, length / 64 + 1);
    const std::vector<float> q = sequence.AbsorbedQueries(first);
    for (const CpuPath path : RunnablePaths()) {
      if (path == CpuPath::kScalar && length > 513) continue;  // has no split, only time
      // Emulated bf16 is slow, and where a context is cut does not depend on the path.
      if (path == CpuPath::kSve && length > 8193) continue;
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
  const CacheFormat format = GENERATE(CacheFormat::kBf16, CacheFormat::kInt8);
  const Model model = {6, 2, 64, 8, KeyNorm::kUnified, format};
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

}  // namespace
}  // namespace latentd
