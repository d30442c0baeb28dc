#include "bench/gpu/rows.h"

#include <algorithm>

namespace latentd::bench {
namespace {

constexpr int64_t k4k = 4096, k8k = 8192, k32k = 32768, k64k = 65536, k128k = 131072,
                  k256k = 262144;

// Without key norm and with it, over the same contexts.
std::vector<DecodeShape> KeyNormPair(int64_t context, int64_t groups) {
  return {{.batch = 4, .context = context},
          {.batch = 4, .context = context, .num_kv_groups = groups}};
}

// Each row tile on its own, and two that share what they read.
std::vector<DecodeShape> OnOwnAndPaired(DecodeShape shape) {
  DecodeShape on_own = shape;
  on_own.may_pair = false;
  return {on_own, shape};
}

// Query rows as the matrix units' rows, and as their columns.
std::vector<DecodeShape> AsRowsAndColumns(DecodeShape shape) {
  DecodeShape as_rows = shape;
  as_rows.may_swap = false;
  return {as_rows, shape};
}

}  // namespace

std::span<const Row> Rows() {
  static const std::vector<Row> rows = {
      {"decode 64 x 32k, 16 rows", {{.batch = 64, .context = k32k}}},
      {"decode 64 x 8k, 128 rows", {{.batch = 64, .context = k8k, .num_heads = 128}}},
      {"decode 64 x 8k, 16 heads of 8 tokens",
       {{.batch = 64, .context = k8k, .query_tokens = 8, .num_heads = 16}}},
      {"pairs off and on, 64 x 8k, 128 rows",
       OnOwnAndPaired({.batch = 64, .context = k8k, .num_heads = 128})},
      {"exchanged roles off and on, 64 x 32k, 16 rows",
       AsRowsAndColumns({.batch = 64, .context = k32k})},
      {"decode 1 x 64k, 16 rows", {{.batch = 1, .context = k64k}}},
      {"attention 4 x 4k, 16 rows", {{.batch = 4, .context = k4k}}},
      {"attention 4 x 32k, 16 rows", {{.batch = 4, .context = k32k}}},
      {"attention 4 x 128k, 16 rows", {{.batch = 4, .context = k128k}}},
      {"attention 4 x 256k, 16 rows", {{.batch = 4, .context = k256k}}},
      {"key norm G 1, 4 x 4k", KeyNormPair(k4k, 1)},
      {"key norm G 1, 4 x 32k", KeyNormPair(k32k, 1)},
      {"key norm G 1, 4 x 128k", KeyNormPair(k128k, 1)},
      {"key norm G 1, 4 x 256k", KeyNormPair(k256k, 1)},
      {"key norm G 4, 4 x 4k", KeyNormPair(k4k, 4)},
      {"key norm G 4, 4 x 32k", KeyNormPair(k32k, 4)},
      {"key norm G 4, 4 x 128k", KeyNormPair(k128k, 4)},
      {"key norm G 4, 4 x 256k", KeyNormPair(k256k, 4)},
      {"key norm G 16, 4 x 4k", KeyNormPair(k4k, 16)},
      {"key norm G 16, 4 x 32k", KeyNormPair(k32k, 16)},
      {"key norm G 16, 4 x 128k", KeyNormPair(k128k, 16)},
      {"key norm G 16, 4 x 256k", KeyNormPair(k256k, 16)},
  };
  return rows;
}

const Row* FindRow(std::string_view name) {
  const auto rows = Rows();
  const auto found =
      std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
  return found == rows.end() ? nullptr : &*found;
}

bool IsComparable(const Row& row) {
  return row.shapes.size() == 1 && row.shapes[0].num_kv_groups == 0;
}

}  // namespace latentd::bench
