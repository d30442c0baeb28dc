// What both decode kernels read, passed by value at launch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/mla_decode.h"

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

struct CombineParams {
  const DecodeRowTile* row_tiles;
  const float* partials;
  float* out;
  int slot_rows;
  int row_latent;
  int slots_per_group;  // 4 when a slot is a unit, 1 when it is a group
};

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
