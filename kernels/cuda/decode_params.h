// What both decode kernels read, passed by value at launch, and what they may be given.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/check.h"
#include "kernels/cuda/mla_decode.h"
#include "kernels/cuda/shared_tile.h"
#include "kernels/cuda/swapped_layout.h"

namespace latentd::cuda {

struct DecodeParams {
  const DecodeItem* items;
  const uint32_t* block_tables;
  const std::byte* alphas;  // of this layer in the block of granule 0
  float* partials;
  int64_t block_table_ld;
  int num_items;
  int slot_rows;
  int num_heads;
  int num_kv_groups;
  bool has_rope;  // d_r > 0
  KeyNorm key_norm;
  float scale_log2;  // softmax scale · log2(e)
};

constexpr int kTilesPerUnit = static_cast<int>(kUnitTokens) / kTileRows;
LATENTD_HD constexpr int NumTiles(const DecodeItem& item) {
  return (item.end_token - item.first_token + kTileRows - 1) / kTileRows;
}
// A row of the item's partial sum.
LATENTD_HD inline float* SlotRow(const DecodeParams& params, const DecodeItem& item, int row,
                                 int row_latent) {
  const int64_t slot_row = static_cast<int64_t>(item.slot) * params.slot_rows + row;
  return params.partials + slot_row * SlotRowFloats(row_latent);
}

struct CombineParams {
  const DecodeRowTile* row_tiles;
  const float* partials;
  float* out;
  int slot_rows;
  int row_latent;
  int slots_per_group;  // 4 when a slot is a unit, 1 when it is a group
};

inline bool Aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

// Aborts where MlaDecode must not begin.
inline void CheckDecodeArgs(const MlaDecodeArgs& args) {
  const int64_t row_width = args.row_latent + args.rope_dim;
  LATENTD_CHECK(args.row_latent >= 64 && args.row_latent <= 512 && args.row_latent % 64 == 0);
  LATENTD_CHECK(args.rope_dim >= 0 && args.rope_dim <= kChunkLanes && args.num_heads >= 1);
  LATENTD_CHECK(args.key_norm == KeyNorm::kNone ||
                (args.num_kv_groups >= 1 && args.num_heads % args.num_kv_groups == 0));
  LATENTD_CHECK(args.softmax_scale > 0);
  LATENTD_CHECK(args.q_ld % 8 == 0 && args.q_ld >= row_width);
  LATENTD_CHECK(args.layer.rows % 16 == 0 && args.layer.row_bytes % 16 == 0 &&
                args.layer.row_bytes >= 2 * row_width && args.layer.alphas % 4 == 0);
  LATENTD_CHECK(Aligned16(args.q) && Aligned16(args.pool) && Aligned16(args.partials) &&
                Aligned16(args.out));
  LATENTD_CHECK(args.pool_bytes / kGranuleBytes < int64_t{1} << 31);
  const auto cluster = static_cast<size_t>(args.plan->cluster);
  LATENTD_CHECK(cluster == 1 || cluster == kClusterCtas);
  LATENTD_CHECK(args.plan->items.size() % cluster == 0 &&
                args.plan->num_ctas % args.plan->cluster == 0);
}

// Of the launch: 0 where query rows are wgmma's rows.
inline int ColumnsOf(const MlaDecodeArgs& args) {
  const int columns = args.columns.value_or(DecodeColumns(args.num_heads, args.plan->slot_rows));
  LATENTD_CHECK(columns == 0 || (columns >= args.plan->slot_rows && args.plan->cluster == 1));
  return columns;
}

inline DecodeParams DecodeParamsOf(const MlaDecodeArgs& args) {
  constexpr float kLog2E = 1.44269504088896340736f;
  DecodeParams params = {};
  params.items = args.items;
  params.block_tables = args.block_tables;
  params.alphas = args.pool + args.layer.alphas;
  params.partials = args.partials;
  params.block_table_ld = args.block_table_ld;
  params.num_items = static_cast<int>(args.plan->items.size());
  params.slot_rows = args.plan->slot_rows;
  params.num_heads = args.num_heads;
  params.num_kv_groups = args.key_norm == KeyNorm::kNone ? 1 : args.num_kv_groups;
  params.has_rope = args.rope_dim > 0;
  params.key_norm = args.key_norm;
  params.scale_log2 = args.softmax_scale * kLog2E;
  return params;
}

inline CombineParams CombineParamsOf(const MlaDecodeArgs& args) {
  CombineParams params = {};
  params.row_tiles = args.row_tiles;
  params.partials = args.partials;
  params.out = args.out;
  params.slot_rows = args.plan->slot_rows;
  params.row_latent = args.row_latent;
  params.slots_per_group = static_cast<int>(kGroupTokens / args.plan->span_tokens);
  return params;
}

}  // namespace latentd::cuda
