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

}  // namespace

int64_t Makespan(std::span<const DecodeItem> items, int64_t num_ctas) {
  std::vector<int64_t> load(static_cast<size_t>(num_ctas));
  for (size_t i = 0; i < items.size(); ++i) {
    load[i % load.size()] +=
        CeilDiv(items[i].end_token - items[i].first_token, kTileRows) + kItemOverheadTiles;
  }
  return load.empty() ? 0 : *std::max_element(load.begin(), load.end());
}

int32_t ChooseNumCtas(int64_t num_items, int num_processors) {
  return static_cast<int32_t>(std::min<int64_t>(num_items, num_processors));
}

DecodePlan PlanDecodeWith(std::span<const AttentionSequence> sequences, int num_heads,
                          int num_processors, int64_t span_tokens) {
  LATENTD_CHECK(num_heads >= 1 && num_processors >= 1);
  LATENTD_CHECK(span_tokens == kUnitTokens || span_tokens == kGroupTokens);
  DecodePlan plan;
  plan.span_tokens = span_tokens;
  for (size_t i = 0; i < sequences.size(); ++i) {
    PlanSequence(sequences[i], static_cast<int32_t>(i), num_heads, plan);
  }
  plan.num_ctas = ChooseNumCtas(static_cast<int64_t>(plan.items.size()), num_processors);
  return plan;
}

DecodePlan PlanDecode(std::span<const AttentionSequence> sequences, int num_heads,
                      int num_processors) {
  DecodePlan units = PlanDecodeWith(sequences, num_heads, num_processors, kUnitTokens);
  DecodePlan groups = PlanDecodeWith(sequences, num_heads, num_processors, kGroupTokens);
  const bool by_units =
      Makespan(units.items, units.num_ctas) < Makespan(groups.items, groups.num_ctas);
  return by_units ? units : groups;
}

}  // namespace latentd::cuda
