#include "bench/gpu/decode_shape.h"

#include <algorithm>
#include <random>

namespace latentd::bench {

LayerOffsets LayerOf(const DecodeShape& shape) {
  LayerOffsets layer;
  layer.alphas = kBlockTokens * shape.RowBytes();
  layer.row_bytes = shape.RowBytes();
  return layer;
}

int64_t BlockGranules(const DecodeShape& shape) {
  return kBlockTokens * (shape.RowBytes() + 4 * shape.num_kv_groups) / kGranuleBytes;
}

int64_t PoolBytes(const DecodeShape& shape) {
  return shape.batch * shape.BlocksOfSequence() * BlockGranules(shape) * kGranuleBytes;
}

int64_t FloorBytes(const DecodeShape& shape) {
  const int64_t cached = shape.batch * shape.context * (shape.RowBytes() + 4 * shape.num_kv_groups);
  return cached + shape.QueryRows() * (2 * shape.RowWidth() + 4 * shape.row_latent);
}

double FloorFlops(const DecodeShape& shape) {
  double seen = 0;  // by all query tokens of a sequence
  for (int64_t i = 0; i < shape.query_tokens; ++i) {
    seen += static_cast<double>(shape.context - shape.query_tokens + i + 1);
  }
  const int64_t of_pair = 2 * shape.RowWidth() + 2 * shape.row_latent;
  return seen * static_cast<double>(shape.batch * shape.num_heads * of_pair);
}

std::vector<uint32_t> RandomTables(const DecodeShape& shape, uint32_t seed) {
  std::vector<uint32_t> tables(static_cast<size_t>(shape.batch * shape.BlocksOfSequence()));
  for (size_t i = 0; i < tables.size(); ++i) {
    tables[i] = static_cast<uint32_t>(i * static_cast<size_t>(BlockGranules(shape)));
  }
  std::mt19937 rng(seed);
  std::shuffle(tables.begin(), tables.end(), rng);
  return tables;
}

std::vector<AttentionSequence> Sequences(const DecodeShape& shape,
                                         const std::vector<uint32_t>& tables) {
  std::vector<AttentionSequence> sequences;
  const auto blocks = static_cast<size_t>(shape.BlocksOfSequence());
  for (int64_t i = 0; i < shape.batch; ++i) {
    const std::span table = std::span(tables).subspan(static_cast<size_t>(i) * blocks, blocks);
    sequences.push_back(
        {table, i * shape.query_tokens, shape.query_tokens, shape.context - shape.query_tokens});
  }
  return sequences;
}

}  // namespace latentd::bench
