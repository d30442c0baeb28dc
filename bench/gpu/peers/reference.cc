#include "bench/gpu/peers/reference.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/check.h"

namespace latentd::bench {
namespace {

// Latent rows of one sequence, [context][RowWidth].
std::vector<double> RowsOf(const DecodeShape& shape, std::span<const std::byte> pool,
                           std::span<const uint32_t> table) {
  std::vector<double> rows;
  rows.reserve(static_cast<size_t>(shape.context * shape.RowWidth()));
  for (int64_t token = 0; token < shape.context; ++token) {
    const int64_t block = int64_t{table[static_cast<size_t>(token / kBlockTokens)]};
    const auto* row = reinterpret_cast<const bf16*>(pool.data() + block * kGranuleBytes +
                                                    token % kBlockTokens * shape.RowBytes());
    for (int64_t i = 0; i < shape.RowWidth(); ++i) rows.push_back(double{ToFloat(row[i])});
  }
  return rows;
}

// One query row over the first `seen` tokens.
void Attend(const DecodeShape& shape, const bf16* q, const std::vector<double>& rows, int64_t seen,
            double softmax_scale, double* out) {
  std::vector<double> weights(static_cast<size_t>(seen));
  double largest = -HUGE_VAL, sum = 0;
  for (int64_t token = 0; token < seen; ++token) {
    double score = 0;
    for (int64_t i = 0; i < shape.RowWidth(); ++i) {
      score += double{ToFloat(q[i])} * rows[static_cast<size_t>(token * shape.RowWidth() + i)];
    }
    weights[static_cast<size_t>(token)] = score * softmax_scale;
    largest = std::max(largest, score * softmax_scale);
  }
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  std::fill_n(out, shape.row_latent, 0.0);
  for (int64_t token = 0; token < seen; ++token) {
    const double weight = weights[static_cast<size_t>(token)] / sum;
    for (int64_t i = 0; i < shape.row_latent; ++i) {
      out[i] += weight * rows[static_cast<size_t>(token * shape.RowWidth() + i)];
    }
  }
}

}  // namespace

std::vector<double> ReferenceDecode(const DecodeShape& shape, std::span<const bf16> q,
                                    std::span<const std::byte> pool,
                                    const std::vector<uint32_t>& tables, double softmax_scale) {
  LATENTD_CHECK(shape.num_kv_groups == 0);
  LATENTD_CHECK(static_cast<int64_t>(q.size()) == shape.QueryRows() * shape.RowWidth());
  LATENTD_CHECK(static_cast<int64_t>(pool.size()) >= PoolBytes(shape));
  std::vector<double> out(static_cast<size_t>(shape.QueryRows() * shape.row_latent));
  for (const AttentionSequence& sequence : Sequences(shape, tables)) {
    const std::vector<double> rows = RowsOf(shape, pool, sequence.block_table);
    for (int64_t i = 0; i < shape.query_tokens * shape.num_heads; ++i) {
      const int64_t row = sequence.first_row * shape.num_heads + i;
      Attend(shape, &q[static_cast<size_t>(row * shape.RowWidth())], rows,
             sequence.first_position + i / shape.num_heads + 1, softmax_scale,
             &out[static_cast<size_t>(row * shape.row_latent)]);
    }
  }
  return out;
}

}  // namespace latentd::bench
