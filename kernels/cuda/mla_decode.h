// Absorbed MLA attention over the paged latent on Hopper (sm_90a): the contract of
// kernels/mla_attention.h, with its views in device memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/core/dtype.h"
#include "kernels/cuda/decode_plan.h"
#include "kernels/mla_attention.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// Score, sums and their order as in MlaAttentionArgs. Differences: q comes already rounded to bf16;
// slots past a row's position but before its sequence's end are given a weight of 0, so they must
// be written (finite); slots past the sequence's end may hold anything.
//
// Every pointer is device memory, borrowed until the stream has run both kernels. The plan's
// vectors are those of PlanDecode, copied to the device by the caller.
struct MlaDecodeArgs {
  const bf16* q = nullptr;  // [q_rows][q_ld], row (t, h) at t·H + h; 16-byte aligned
  int64_t q_rows = 0;       // num_rows · H
  int64_t q_ld = 0;         // elements, multiple of 8, at least row_latent + rope_dim
  float* out = nullptr;     // [q_rows][row_latent], overwritten
  int num_heads = 0;
  int num_kv_groups = 0;  // G; unread without key norm
  int row_latent = 0;     // r_w: 64, 128 … 512
  int rope_dim = 0;       // d_r: 0 … 64
  KeyNorm key_norm = KeyNorm::kNone;
  float softmax_scale = 1;
  const std::byte* pool = nullptr;  // granules of 256 bytes; 16-byte aligned
  int64_t pool_bytes = 0;  // below 2³⁹: granule indices are TMA's signed 32-bit coordinates
  LayerOffsets layer;
  const uint32_t* block_tables = nullptr;  // [sequences][block_table_ld] granule indices
  int64_t block_table_ld = 0;
  const DecodeItem* items = nullptr;         // plan.items
  const DecodeRowTile* row_tiles = nullptr;  // plan.row_tiles
  const DecodePlan* plan = nullptr;          // host: the sizes
  float* partials = nullptr;  // [plan.num_slots][plan.slot_rows][SlotRowFloats(row_latent)],
                              // scratch, 16-byte aligned
  // For tests: what DecodeColumns (swapped_layout.h) would say otherwise. 16, 32 or 64, at least
  // plan.slot_rows, or 0; no bit depends on which of the three.
  std::optional<int> columns = std::nullopt;
};

// Enqueues the decode kernel and the combine kernel. Any thread, one at a time per stream. A broken
// precondition or a failed launch aborts with file and line.
void MlaDecode(CUstream_st* stream, const MlaDecodeArgs& args);

}  // namespace latentd::cuda
