#include "kernels/cuda/decode_plan.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/cuda/shared_tile.h"

namespace latentd::cuda {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

void PlanSequence(const AttentionSequence& sequence, int32_t index, int num_heads,
                  DecodePlan& plan) {
  const int64_t num_rows = sequence.num_tokens * num_heads;
  const int64_t num_tiles = CeilDiv(num_rows, kTileRows);
  const size_t first_tile = plan.row_tiles.size();
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t first_row = tile * kTileRows;
    const auto rows = static_cast<int32_t>(std::min<int64_t>(kTileRows, num_rows - first_row));
    const int64_t visible = VisibleTokens(static_cast<int>(sequence.first_position),
                                          static_cast<int>(first_row) + rows - 1, num_heads);
    const auto slots = static_cast<int32_t>(CeilDiv(visible, plan.span_tokens));
    const auto q_row = static_cast<int32_t>(sequence.first_row * num_heads + first_row);
    plan.row_tiles.push_back({q_row, rows, plan.num_slots, slots});
    plan.num_slots += slots;
    plan.slot_rows = std::max(plan.slot_rows, rows);
  }
  // Spans outside, row tiles inside: tiles that read the same tokens run side by side and share L2.
  const int64_t most_spans = num_tiles == 0 ? 0 : plan.row_tiles.back().num_slots;
  for (int64_t span = 0; span < most_spans; ++span) {
    for (int64_t tile = 0; tile < num_tiles; ++tile) {
      const DecodeRowTile& rows = plan.row_tiles[first_tile + static_cast<size_t>(tile)];
      if (span >= rows.num_slots) continue;
      const auto first_row = static_cast<int32_t>(tile * kTileRows);
      const auto first_position = static_cast<int32_t>(sequence.first_position);
      const int64_t visible =
          VisibleTokens(first_position, first_row + rows.num_rows - 1, num_heads);
      const int64_t end = std::min((span + 1) * plan.span_tokens, visible);
      plan.items.push_back({index, rows.q_row, rows.num_rows, first_row, first_position,
                            static_cast<int32_t>(span * plan.span_tokens),
                            static_cast<int32_t>(end),
                            rows.first_slot + static_cast<int32_t>(span)});
    }
  }
}

// Overwrites `load`, and the plan below, which keep their memory.
int64_t MakespanIn(std::span<const DecodeItem> items, int64_t num_ctas,
                   std::vector<int64_t>& load) {
  load.assign(static_cast<size_t>(num_ctas), 0);
  for (size_t i = 0; i < items.size(); ++i) {
    load[i % load.size()] +=
        CeilDiv(items[i].end_token - items[i].first_token, kTileRows) + kItemOverheadTiles;
  }
  return load.empty() ? 0 : *std::max_element(load.begin(), load.end());
}

void PlanIn(std::span<const AttentionSequence> sequences, int num_heads, int num_processors,
            int64_t span_tokens, DecodePlan& plan) {
  LATENTD_CHECK(num_heads >= 1 && num_processors >= 1);
  LATENTD_CHECK(span_tokens == kUnitTokens || span_tokens == kGroupTokens);
  plan.span_tokens = span_tokens;
  plan.items.clear();
  plan.row_tiles.clear();
  plan.num_slots = plan.slot_rows = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    PlanSequence(sequences[i], static_cast<int32_t>(i), num_heads, plan);
  }
  plan.num_ctas = ChooseNumCtas(static_cast<int64_t>(plan.items.size()), num_processors);
}

}  // namespace

int64_t Makespan(std::span<const DecodeItem> items, int64_t num_ctas) {
  std::vector<int64_t> load;
  return MakespanIn(items, num_ctas, load);
}

int32_t ChooseNumCtas(int64_t num_items, int num_processors) {
  return static_cast<int32_t>(std::min<int64_t>(num_items, num_processors));
}

DecodePlan PlanDecodeWith(std::span<const AttentionSequence> sequences, int num_heads,
                          int num_processors, int64_t span_tokens) {
  DecodePlan plan;
  PlanIn(sequences, num_heads, num_processors, span_tokens, plan);
  return plan;
}

DecodePlan PlanDecode(std::span<const AttentionSequence> sequences, int num_heads,
                      int num_processors) {
  return DecodePlanner().Plan(sequences, num_heads, num_processors);
}

DecodePlan& DecodePlanner::Plan(std::span<const AttentionSequence> sequences, int num_heads,
                                int num_processors) {
  PlanIn(sequences, num_heads, num_processors, kUnitTokens, units_);
  PlanIn(sequences, num_heads, num_processors, kGroupTokens, groups_);
  const bool by_units = MakespanIn(units_.items, units_.num_ctas, load_) <
                        MakespanIn(groups_.items, groups_.num_ctas, load_);
  return by_units ? units_ : groups_;
}

void PadPlan(int64_t num_tokens, int64_t padded_tokens, int num_heads, int num_processors,
             DecodePlan* plan) {
  const auto tiles = static_cast<size_t>(CeilDiv(num_heads, kTileRows));
  LATENTD_CHECK(num_tokens >= 1 &&
                plan->row_tiles.size() == static_cast<size_t>(num_tokens) * tiles);
  LATENTD_CHECK(plan->row_tiles[0].q_row == 0);
  for (int64_t token = num_tokens; token < padded_tokens; ++token) {
    for (size_t i = 0; i < tiles; ++i) {
      DecodeRowTile tile = plan->row_tiles[i];
      tile.q_row += static_cast<int32_t>(token * num_heads);
      plan->row_tiles.push_back(tile);
    }
  }
  auto num_items = static_cast<size_t>(num_processors);
  while (num_items < plan->items.size()) num_items *= 2;
  plan->items.resize(num_items);
  plan->num_ctas = num_processors;
}

}  // namespace latentd::cuda
