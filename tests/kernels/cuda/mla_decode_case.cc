#include "tests/kernels/cuda/mla_decode_case.h"

#include <algorithm>

#include "tests/kernels/cuda/decode_runner.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {

Step::Step(std::mt19937& rng, const Shape& shape, const std::vector<int64_t>& lengths,
           const std::vector<int64_t>& new_tokens)
    : shape(shape) {
  layer = {
      .rows = 512, .alphas = 512 + kBlockTokens * shape.RowBytes(), .row_bytes = shape.RowBytes()};
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
void Step::WriteToken(std::mt19937& rng, const uint32_t* table, int64_t t, int64_t length) {
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

Step Step::Only(size_t sequence, int64_t token, int64_t num_tokens) const {
  Step other = *this;
  const AttentionSequence& from = sequences[sequence];
  other.sequences = {
      {from.block_table, from.first_row + token, num_tokens, from.first_position + token}};
  std::copy_n(&tables[sequence * static_cast<size_t>(table_ld)], table_ld, other.tables.begin());
  return other;
}

std::vector<float> Step::Run(const DecodePlan& plan, std::optional<int> columns) const {
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
  args.columns = columns;
  RunMlaDecode(args, static_cast<int64_t>(tables.size()) / table_ld);
  return out;
}

}  // namespace latentd::cuda
