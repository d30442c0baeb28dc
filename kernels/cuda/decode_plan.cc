#include "kernels/cuda/decode_plan.h"

#include <algorithm>

#include "kernels/core/check.h"
#include "kernels/core/rounding.h"
#include "kernels/cuda/shared_tile.h"
#include "kernels/cuda/swapped_layout.h"

namespace latentd::cuda {
namespace {

int64_t RoundDown(int64_t a, int64_t b) { return a / b * b; }

void PlanRowTiles(const AttentionSequence& sequence, int num_heads, DecodePlan& plan) {
  const int64_t num_rows = sequence.num_tokens * num_heads;
  const int64_t num_tiles = CeilDiv(num_rows, kTileRows);
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
}

// One span of the tokens, for neighbouring row tiles of a sequence that a cluster takes, and for
// items without rows where it has more blocks. The last tile sees most.
void PlanCluster(const AttentionSequence& sequence, int32_t index, int num_heads,
                 std::span<const DecodeRowTile> tiles, int32_t first_row, int32_t span,
                 DecodePlan& plan) {
  const auto first_position = static_cast<int32_t>(sequence.first_position);
  const auto first_token = static_cast<int32_t>(span * plan.span_tokens);
  const auto last = static_cast<int32_t>(tiles.size()) - 1;
  const int64_t visible = VisibleTokens(
      first_position, first_row + last * kTileRows + tiles.back().num_rows - 1, num_heads);
  const auto end = static_cast<int32_t>(std::min(first_token + plan.span_tokens, visible));
  for (int32_t block = 0; block < plan.cluster; ++block) {
    const int32_t i = std::min(block, last);
    const DecodeRowTile& tile = tiles[static_cast<size_t>(i)];
    const bool has_rows = i == block && span < tile.num_slots;
    plan.items.push_back({index, tile.q_row, has_rows ? tile.num_rows : 0,
                          first_row + i * kTileRows, first_position, first_token, end,
                          has_rows ? tile.first_slot + span : 0});
  }
}

void PlanSequence(const AttentionSequence& sequence, int32_t index, int num_heads,
                  DecodePlan& plan) {
  const size_t before = plan.row_tiles.size();
  PlanRowTiles(sequence, num_heads, plan);
  const auto tiles = std::span<const DecodeRowTile>(plan.row_tiles).subspan(before);
  const auto cluster = static_cast<size_t>(plan.cluster);
  // Spans outside, row tiles inside: tiles that read the same tokens run side by side and share L2.
  const int32_t most_spans = tiles.empty() ? 0 : tiles.back().num_slots;
  for (int32_t span = 0; span < most_spans; ++span) {
    for (size_t first = 0; first < tiles.size(); first += cluster) {
      const auto taken = tiles.subspan(first, std::min(cluster, tiles.size() - first));
      if (span >= taken.back().num_slots) continue;
      PlanCluster(sequence, index, num_heads, taken, static_cast<int32_t>(first) * kTileRows, span,
                  plan);
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
            int64_t span_tokens, int32_t cluster, DecodePlan& plan) {
  LATENTD_CHECK(num_heads >= 1 && num_processors >= cluster);
  LATENTD_CHECK(cluster == 1 || cluster == kClusterCtas);
  LATENTD_CHECK(span_tokens == kUnitTokens || span_tokens == kGroupTokens);
  plan.span_tokens = span_tokens;
  plan.cluster = cluster;
  plan.items.clear();
  plan.row_tiles.clear();
  plan.num_slots = plan.slot_rows = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    PlanSequence(sequences[i], static_cast<int32_t>(i), num_heads, plan);
  }
  plan.num_ctas = ChooseNumCtas(static_cast<int64_t>(plan.items.size()),
                                static_cast<int>(RoundDown(num_processors, cluster)));
}

}  // namespace

int64_t Makespan(std::span<const DecodeItem> items, int64_t num_ctas) {
  std::vector<int64_t> load;
  return MakespanIn(items, num_ctas, load);
}

int32_t ChooseNumCtas(int64_t num_items, int num_processors) {
  return static_cast<int32_t>(std::min<int64_t>(num_items, num_processors));
}

bool PairsTiles(std::span<const AttentionSequence> sequences, int num_heads, int num_processors) {
  if (DecodeColumns(num_heads, kTileRows) != 0) return false;
  int64_t items = 0, paired = 0;  // by units, as if all rows of a sequence saw as much as its last
  for (const AttentionSequence& s : sequences) {
    const int64_t units = CeilDiv(s.first_position + s.num_tokens, kUnitTokens);
    const int64_t tiles = CeilDiv(s.num_tokens * num_heads, kTileRows);
    items += tiles * units;
    paired += CeilDiv(tiles, kClusterCtas) * kClusterCtas * units;
  }
  return 8 * paired * num_processors < 9 * items * RoundDown(num_processors, kClusterCtas);
}

DecodePlan PlanDecodeWith(std::span<const AttentionSequence> sequences, int num_heads,
                          int num_processors, int64_t span_tokens, int32_t cluster) {
  DecodePlan plan;
  PlanIn(sequences, num_heads, num_processors, span_tokens, cluster, plan);
  return plan;
}

DecodePlan PlanDecode(std::span<const AttentionSequence> sequences, int num_heads,
                      int num_processors) {
  return DecodePlanner().Plan(sequences, num_heads, num_processors);
}

DecodePlan& DecodePlanner::Plan(std::span<const AttentionSequence> sequences, int num_heads,
                                int num_processors) {
  const int32_t cluster = PairsTiles(sequences, num_heads, num_processors) ? kClusterCtas : 1;
  PlanIn(sequences, num_heads, num_processors, kUnitTokens, cluster, units_);
  PlanIn(sequences, num_heads, num_processors, kGroupTokens, cluster, groups_);
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
  plan->num_ctas = static_cast<int32_t>(RoundDown(num_processors, plan->cluster));
  auto num_items = static_cast<size_t>(plan->num_ctas);
  while (num_items < plan->items.size()) num_items *= 2;
  plan->items.resize(num_items);
}

}  // namespace latentd::cuda
