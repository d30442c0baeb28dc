#include "kernels/cuda/decode_plan.h"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "kernels/cuda/shared_tile.h"

namespace latentd::cuda {
namespace {

// Every (row, token) pair that may be looked at belongs to one item, in a slot that the row's tile
// reads in token order; nothing else is planned.
void CheckPlan(const std::vector<AttentionSequence>& sequences, int num_heads,
               const DecodePlan& plan) {
  std::map<int32_t, const DecodeItem*> item_of_slot;
  for (const DecodeItem& item : plan.items) {
    REQUIRE(item_of_slot.emplace(item.slot, &item).second);
    REQUIRE(item.num_rows >= 1);
    REQUIRE(item.num_rows <= kTileRows);
    REQUIRE(item.num_rows <= plan.slot_rows);
  }
  REQUIRE(item_of_slot.size() == static_cast<size_t>(plan.num_slots));
  std::set<int64_t> rows_seen;
  size_t slots_read = 0;
  for (const DecodeRowTile& tile : plan.row_tiles) {
    int64_t next_token = 0;
    const DecodeItem& first = *item_of_slot.at(tile.first_slot);
    const AttentionSequence& sequence = sequences[static_cast<size_t>(first.sequence)];
    for (int i = 0; i < tile.num_slots; ++i, ++slots_read) {
      const DecodeItem& item = *item_of_slot.at(tile.first_slot + i);
      REQUIRE(std::tie(item.sequence, item.q_row, item.num_rows, item.first_row) ==
              std::tie(first.sequence, tile.q_row, tile.num_rows, first.first_row));
      REQUIRE(item.first_position == sequence.first_position);
      REQUIRE(item.first_token == next_token);
      REQUIRE(item.first_token % plan.span_tokens == 0);
      REQUIRE(item.end_token > item.first_token);
      next_token = item.first_token + plan.span_tokens;
      if (i + 1 < tile.num_slots) REQUIRE(item.end_token == next_token);
      if (i + 1 == tile.num_slots) {
        const int64_t token = (first.first_row + tile.num_rows - 1) / num_heads;
        REQUIRE(item.end_token == sequence.first_position + token + 1);
      }
    }
    REQUIRE(tile.q_row == sequence.first_row * num_heads + first.first_row);
    for (int row = 0; row < tile.num_rows; ++row)
      REQUIRE(rows_seen.insert(tile.q_row + row).second);
  }
  REQUIRE(slots_read == plan.items.size());
  size_t rows = 0;
  for (const AttentionSequence& sequence : sequences) {
    rows += static_cast<size_t>(sequence.num_tokens * num_heads);
  }
  REQUIRE(rows_seen.size() == rows);
}

std::vector<AttentionSequence> Batch(int64_t count, int64_t context, int64_t num_tokens) {
  std::vector<AttentionSequence> sequences;
  for (int64_t i = 0; i < count; ++i) {
    sequences.push_back({{}, i * num_tokens, num_tokens, context - num_tokens});
  }
  return sequences;
}

TEST_CASE("a plan covers every row and token once, over all shapes") {
  for (const int heads : {1, 3, 12, 16, 32, 63, 64, 65, 126, 128, 192}) {
    for (const int64_t context : {1, 2, 63, 64, 65, 511, 512, 513, 2047, 2048, 2049, 4641, 32768}) {
      for (const int64_t tokens : {1, 2, 4, 70}) {
        if (tokens > context) continue;
        const auto sequences = Batch(3, context, tokens);
        for (const int64_t span : {kUnitTokens, kGroupTokens}) {
          CheckPlan(sequences, heads, PlanDecodeWith(sequences, heads, 132, span));
        }
      }
    }
  }
}

TEST_CASE("a plan covers mixed batches, empty sequences among them") {
  std::mt19937 rng(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<AttentionSequence> sequences;
    int64_t row = 0;
    const int count = std::uniform_int_distribution(0, 20)(rng);
    for (int i = 0; i < count; ++i) {
      const int64_t tokens = std::uniform_int_distribution<int64_t>(0, 5)(rng);
      const int64_t before = std::uniform_int_distribution<int64_t>(0, 9000)(rng);
      sequences.push_back({{}, row, tokens, before});
      row += tokens;
    }
    const int heads = std::uniform_int_distribution(1, 130)(rng);
    const int processors = std::uniform_int_distribution(1, 132)(rng);
    const DecodePlan plan = PlanDecode(sequences, heads, processors);
    CheckPlan(sequences, heads, plan);
    REQUIRE(plan.num_ctas <= processors);
    REQUIRE(plan.num_ctas ==
            std::min<int64_t>(processors, static_cast<int64_t>(plan.items.size())));
  }
}

// The sequences of a step that generates.
std::vector<AttentionSequence> RandomDecode(std::mt19937& rng) {
  std::vector<AttentionSequence> sequences;
  const int64_t count = std::uniform_int_distribution<int64_t>(1, 20)(rng);
  for (int64_t i = 0; i < count; ++i) {
    sequences.push_back({{}, i, 1, std::uniform_int_distribution<int64_t>(0, 9000)(rng)});
  }
  return sequences;
}

TEST_CASE("padding leaves the plan as it is, and little of its size") {
  std::mt19937 rng(8);
  for (int round = 0; round < 200; ++round) {
    const std::vector<AttentionSequence> sequences = RandomDecode(rng);
    const auto tokens = static_cast<int64_t>(sequences.size());
    const int heads = std::uniform_int_distribution(1, 130)(rng);
    const int processors = std::uniform_int_distribution(1, 132)(rng);
    const int64_t room = tokens + std::uniform_int_distribution<int64_t>(0, 5)(rng);
    const DecodePlan plan = PlanDecode(sequences, heads, processors);
    DecodePlan padded = plan;
    PadPlan(tokens, room, heads, processors, &padded);

    REQUIRE(padded.num_ctas == processors);
    const size_t slices = padded.items.size() / static_cast<size_t>(processors);
    REQUIRE(padded.items.size() == slices * static_cast<size_t>(processors));
    REQUIRE(std::has_single_bit(slices));
    REQUIRE((slices == 1 || padded.items.size() < 2 * plan.items.size()));
    for (size_t i = plan.items.size(); i < padded.items.size(); ++i) {
      REQUIRE(padded.items[i].num_rows == 0);
    }
    const size_t tiles = plan.row_tiles.size() / sequences.size();
    REQUIRE(padded.row_tiles.size() == static_cast<size_t>(room) * tiles);
    for (size_t i = plan.row_tiles.size(); i < padded.row_tiles.size(); ++i) {
      const DecodeRowTile &tile = padded.row_tiles[i], &first = plan.row_tiles[i % tiles];
      REQUIRE(tile.q_row == first.q_row + static_cast<int32_t>(i / tiles) * heads);
      REQUIRE(std::tie(tile.num_rows, tile.first_slot, tile.num_slots) ==
              std::tie(first.num_rows, first.first_slot, first.num_slots));
    }
    padded.items.resize(plan.items.size());
    padded.row_tiles.resize(plan.row_tiles.size());
    CheckPlan(sequences, heads, padded);
  }
}

TEST_CASE("a planner gives the plans of PlanDecode, step after step in the same memory") {
  std::mt19937 rng(9);
  DecodePlanner planner;
  planner.Plan(Batch(20, 9001, 1), 130, 132);  // as much as any below, by units and by groups
  planner.Plan(Batch(1, 9001, 1), 130, 132);
  std::set<const DecodeItem*> places;
  for (int round = 0; round < 50; ++round) {
    const std::vector<AttentionSequence> sequences = RandomDecode(rng);
    const int heads = std::uniform_int_distribution(1, 130)(rng);
    const DecodePlan expected = PlanDecode(sequences, heads, 132);
    const DecodePlan& plan = planner.Plan(sequences, heads, 132);
    places.insert(plan.items.data());
    REQUIRE(plan.span_tokens == expected.span_tokens);
    REQUIRE(plan.items.size() == expected.items.size());
    REQUIRE(plan.num_slots == expected.num_slots);
    REQUIRE(plan.slot_rows == expected.slot_rows);
    REQUIRE(plan.num_ctas == expected.num_ctas);
    CheckPlan(sequences, heads, plan);
  }
  CHECK(places.size() <= 2);  // units and groups
}

TEST_CASE("makespan is the load of the fullest thread block") {
  const auto item = [](int32_t first, int32_t end) {
    return DecodeItem{0, 0, 1, 0, 0, first, end, 0};
  };
  const std::vector<DecodeItem> items = {item(0, 512), item(512, 1024), item(1024, 1025)};
  CHECK(Makespan(items, 3) == 8 + kItemOverheadTiles);
  CHECK(Makespan(items, 2) == 8 + 1 + 2 * kItemOverheadTiles);
  CHECK(Makespan(items, 1) == 8 + 8 + 1 + 3 * kItemOverheadTiles);
  CHECK(Makespan({}, 0) == 0);
}

// Over all shapes of the measurements planned: never slower, by the plan's own count, than the
// other span; units where one sequence must fill the machine, groups where a batch does.
TEST_CASE("the span follows the load") {
  for (const int heads : {12, 16, 32, 64, 128}) {
    for (const int64_t context : {4096, 32768, 131072, 262144}) {
      for (const int64_t batch : {1, 4, 8, 64}) {
        for (const int64_t tokens : {1, 2, 4}) {
          const auto sequences = Batch(batch, context, tokens);
          const DecodePlan plan = PlanDecode(sequences, heads, 132);
          const int64_t chosen = Makespan(plan.items, plan.num_ctas);
          for (const int64_t span : {kUnitTokens, kGroupTokens}) {
            const DecodePlan other = PlanDecodeWith(sequences, heads, 132, span);
            REQUIRE(chosen <= Makespan(other.items, other.num_ctas));
          }
        }
      }
    }
  }
  CHECK(PlanDecode(Batch(1, 65536, 1), 16, 132).span_tokens == kUnitTokens);
  CHECK(PlanDecode(Batch(64, 32768, 1), 16, 132).span_tokens == kGroupTokens);
  CHECK(PlanDecode(Batch(200, 300, 1), 16, 132).span_tokens == kGroupTokens);  // equal: fewer slots
}

TEST_CASE("rows know their token and their group") {
  CHECK(VisibleTokens(0, 0, 16) == 1);
  CHECK(VisibleTokens(100, 15, 16) == 101);
  CHECK(VisibleTokens(100, 16, 16) == 102);
  CHECK(KvGroupOfRow(11, 12, 4) == 3);
  CHECK(KvGroupOfRow(12, 12, 4) == 0);
  CHECK(KvGroupOfRow(14, 12, 4) == 0);
  CHECK(KvGroupOfRow(15, 12, 4) == 1);
}

}  // namespace
}  // namespace latentd::cuda
