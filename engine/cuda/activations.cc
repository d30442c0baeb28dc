#include "engine/cuda/activations.h"

#include <algorithm>

#include "kernels/core/rounding.h"
#include "kernels/cuda/blaslt.h"

namespace latentd {
namespace {

void PlaceExperts(const ModelConfig& config, int64_t rows, DeviceArena& arena, Activations* to) {
  const MoeConfig& moe = *config.moe;
  const int64_t num_experts = moe.router.num_experts, choices = rows * moe.router.top_k;
  const int64_t d = config.hidden_size, units = moe.expert_intermediate_size;
  to->router_logits = arena.Take<float>(rows * num_experts);
  to->expert_ids = arena.Take<int32_t>(choices);
  to->expert_weights = arena.Take<float>(choices);
  to->groups.offsets = arena.Take<int32_t>(num_experts + 1);
  to->groups.choices = arena.Take<int32_t>(choices);
  to->groups.places = arena.Take<int32_t>(choices);
  to->groups.tiles =
      arena.Take<cuda::ExpertTile>(cuda::MaxExpertTiles(choices, moe.num_weighted()));
  to->groups.counts = arena.Take<int32_t>(cuda::NumChoiceChunks(choices) * num_experts);
  to->expert_gate = arena.Take<float>(choices * units);
  to->expert_up = arena.Take<float>(choices * units);
  to->expert_out = arena.Take<float>(choices * d);
  if (moe.shared_intermediate_size > 0) to->shared_out = arena.Take<float>(rows * d);
  if (moe.is_shortcut) to->shortcut = arena.Take<float>(rows * d);
}

// Of the dense MLP and the shared experts.
int64_t MostUnits(const ModelConfig& config) {
  return config.moe ? std::max(config.intermediate_size, config.moe->shared_intermediate_size)
                    : config.intermediate_size;
}

// Of the widest x among a token's products, or its query, as RoundRows lays it out.
int64_t RoundedPerRow(const ModelConfig& config) {
  const int64_t heads = config.num_heads;
  return std::max({cuda::RoundedLd(config.hidden_size), cuda::RoundedLd(config.q_lora_rank),
                   cuda::RoundedLd(heads * config.v_head_dim), cuda::RoundedLd(MostUnits(config)),
                   heads * cuda::RoundedLd(config.qk_nope_head_dim + config.qk_rope_head_dim),
                   heads * cuda::RoundedLd(config.kv_lora_rank)});
}

ExpandedNeeds NeedsOf(const ModelConfig& config, const BlockLayout& layout,
                      const StepLimits& limits) {
  return {.geometry = {.num_heads = config.num_heads,
                       .num_kv_groups = config.num_kv_groups,
                       .nope_dim = config.qk_nope_head_dim,
                       .rope_dim = config.qk_rope_head_dim,
                       .value_dim = config.v_head_dim,
                       .latent_width = config.kv_lora_rank},
          .row_latent = layout.row_latent,
          .max_rows = limits.max_rows,
          .span_tokens = limits.expanded_span_tokens,
          .most_bytes = limits.expanded_bytes};
}

}  // namespace

int64_t AbsorbedLd(const BlockLayout& layout) {
  return (layout.row_latent + layout.rope_dim + 7) / 8 * 8;
}

Activations Activations::Place(const ModelConfig& config, const BlockLayout& layout,
                               const StepLimits& limits, DeviceArena& arena) {
  const int64_t rows = limits.max_rows, d = config.hidden_size, heads = config.num_heads;
  const int64_t d_r = config.qk_rope_head_dim, units = MostUnits(config);
  Activations to;
  to.x = arena.Take<float>(rows * d);
  to.h = arena.Take<float>(rows * d);
  to.block_out = arena.Take<float>(rows * d);
  to.q_a = arena.Take<float>(rows * config.q_lora_rank);
  to.q = arena.Take<float>(rows * heads * (config.qk_nope_head_dim + d_r));
  to.kv_a = arena.Take<float>(rows * (config.kv_lora_rank + d_r));
  to.key_squares = arena.Take<float>(rows);
  to.absorbed = arena.Take<bf16>(rows * heads * AbsorbedLd(layout));
  to.z = arena.Take<float>(rows * heads * layout.row_latent);
  to.heads = arena.Take<float>(rows * heads * config.v_head_dim);
  to.partials = arena.Take<float>(limits.partial_bytes / static_cast<int64_t>(sizeof(float)));
  to.gate = arena.Take<float>(rows * units);
  to.up = arena.Take<float>(rows * units);
  to.logits_in = arena.Take<float>(kLogitsTile * d);
  to.logits = arena.Take<float>(kLogitsTile * config.vocab_size);
  if (limits.relaxed) {
    to.rounded_size = std::max(RoundUp(rows, kExpandedTile), kLogitsTile) * RoundedPerRow(config);
    to.rounded = arena.Take<bf16>(to.rounded_size);
    to.library_workspace = arena.Take<std::byte>(cuda::BlasLt::kWorkspaceBytes);
    to.expanded_sizes = PlanExpanded(NeedsOf(config, layout, limits));
    to.expanded = ExpandedMemory::Place(to.expanded_sizes, arena);
  }
  if (config.moe) PlaceExperts(config, rows, arena, &to);
  return to;
}

}  // namespace latentd
