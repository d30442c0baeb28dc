// A decode attention to be timed, and the least that it must move and multiply: pure host
// functions.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/mla_attention.h"

namespace latentd::bench {

struct DecodeShape {
  int64_t batch = 1;
  int64_t context = 1;  // tokens of each sequence, its query tokens among them
  int64_t query_tokens = 1;
  int64_t num_heads = 16;
  int64_t num_kv_groups = 0;  // of a blockwise key norm; 0: none
  int64_t row_latent = 512;
  int64_t rope_dim = 64;
  bool may_pair = true;  // row tiles share what they read where the plan says so
  bool may_swap = true;  // query rows are the matrix units' columns where the heads say so

  int64_t RowWidth() const { return row_latent + rope_dim; }
  int64_t RowBytes() const { return 2 * RowWidth(); }
  int64_t QueryRows() const { return batch * query_tokens * num_heads; }
  int64_t BlocksOfSequence() const { return (context + kBlockTokens - 1) / kBlockTokens; }
};

// One layer's block: 64 rows, then the inverse RMS of 64 tokens: whole granules, as rows are whole
// 16 bytes.
LayerOffsets LayerOf(const DecodeShape& shape);
int64_t BlockGranules(const DecodeShape& shape);
int64_t PoolBytes(const DecodeShape& shape);

// Every cached row and its inverse RMS read once, queries (bf16) read, outputs (fp32) written.
int64_t FloorBytes(const DecodeShape& shape);
// 2·(r_w + d_r) for the score and 2·r_w for the sum, of every head, query token and token that it
// may see.
double FloorFlops(const DecodeShape& shape);

// Block tables [batch][BlocksOfSequence()] of granules, all blocks of the pool in random order.
std::vector<uint32_t> RandomTables(const DecodeShape& shape, uint32_t seed);
// The sequences of a step over these tables.
std::vector<AttentionSequence> Sequences(const DecodeShape& shape,
                                         const std::vector<uint32_t>& tables);

}  // namespace latentd::bench
