// The activations of a step in device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/block_layout.h"
#include "engine/cuda/device_arena.h"
#include "engine/cuda/expanded_plan.h"
#include "engine/cuda/step_inputs.h"
#include "engine/model/config.h"
#include "kernels/cuda/experts.h"

namespace latentd {

constexpr int64_t kLogitsTile = 64;  // rows of logits made at a time

// Pieces of an arena, for T = limits.max_rows rows; fp32 where nothing else is said. A piece whose
// columns depend on the width is used with the pitch of the group at hand.
struct Activations {
  // Takes them all. layout: of the blocks at full width.
  static Activations Place(const ModelConfig& config, const BlockLayout& layout,
                           const StepLimits& limits, DeviceArena& arena);

  float* x = nullptr;                    // [T, d]
  float* h = nullptr;                    // [T, d]
  float* block_out = nullptr;            // [T, d]
  float* q_a = nullptr;                  // [T, r_q]
  float* q = nullptr;                    // [T, H(d_n+d_r)]
  float* kv_a = nullptr;                 // [T, r + d_r]
  float* key_squares = nullptr;          // [T]
  bf16* absorbed = nullptr;              // [T·H, absorbed_ld]
  float* z = nullptr;                    // [T·H, r_w]
  float* heads = nullptr;                // [T, H·d_v]
  float* partials = nullptr;             // limits.partial_bytes
  float *gate = nullptr, *up = nullptr;  // [T, units]
  float* logits_in = nullptr;            // [kLogitsTile, d]
  float* logits = nullptr;               // [kLogitsTile, V]

  // Relaxed: a product's rounded x, or a chunk's rounded queries, and what the library works in.
  bf16* rounded = nullptr;
  int64_t rounded_size = 0;  // elements
  std::byte* library_workspace = nullptr;
  // Relaxed: long prompt chunks.
  ExpandedSizes expanded_sizes;
  ExpandedMemory expanded;

  // Mixture of experts, k choices a token.
  float* router_logits = nullptr;   // [T, E]
  int32_t* expert_ids = nullptr;    // [T, k]
  float* expert_weights = nullptr;  // [T, k]
  cuda::ExpertGroups groups;
  float* expert_gate = nullptr;  // [T·k, expert units]
  float* expert_up = nullptr;
  float* expert_out = nullptr;  // [T·k, d]
  float* shared_out = nullptr;  // [T, d]
  float* shortcut = nullptr;    // [T, d] from an even layer to the odd one after it
};

// Elements between two rows of absorbed queries.
int64_t AbsorbedLd(const BlockLayout& layout);

}  // namespace latentd
