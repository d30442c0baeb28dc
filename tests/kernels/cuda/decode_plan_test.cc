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
    if (plan.cluster > 1 && item.num_rows == 0) continue;  // CheckPairs
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
        const int64_t visible = sequence.first_position + token + 1;
        if (plan.cluster == 1) REQUIRE(item.end_token == visible);
        REQUIRE(item.end_token >= visible);
      }
    }
    REQUIRE(tile.q_row == sequence.first_row * num_heads + first.first_row);
    for (int row = 0; row < tile.num_rows; ++row)
      REQUIRE(rows_seen.insert(tile.q_row + row).second);
  }
  REQUIRE(slots_read == item_of_slot.size());
  size_t rows = 0;
  for (const AttentionSequence& sequence : sequences) {
    rows += static_cast<size_t>(sequence.num_tokens * num_heads);
  }
  REQUIRE(rows_seen.size() == rows);
}

// Two items of a cluster are neighbouring row tiles over the same tokens, up to the last that any
// of their rows may see; where there is no other tile, or it sees nothing there, one has no rows.
void CheckPairs(const std::vector<AttentionSequence>& sequences, int num_heads,
                const DecodePlan& plan) {
  REQUIRE(plan.cluster == kClusterCtas);
  REQUIRE(plan.num_ctas % kClusterCtas == 0);
  REQUIRE(plan.items.size() % kClusterCtas == 0);
  for (size_t i = 0; i < plan.items.size(); i += 2) {
    const DecodeItem &first = plan.items[i], &second = plan.items[i + 1];
    REQUIRE(std::tie(first.sequence, first.first_position, first.first_token, first.end_token) ==
            std::tie(second.sequence, second.first_position, second.first_token, second.end_token));
    const DecodeItem& last = second.num_rows > 0 ? second : first;
    REQUIRE(last.num_rows > 0);
    REQUIRE(first.first_row % (2 * kTileRows) == 0);
    const int64_t tokens = sequences[static_cast<size_t>(first.sequence)].num_tokens;
    const bool is_odd = first.first_row + kTileRows >= tokens * num_heads;
    REQUIRE(second.first_row == first.first_row + (is_odd ? 0 : kTileRows));
    REQUIRE(is_odd == (second.num_rows == 0));
    if (first.num_rows == 0) {
      REQUIRE(VisibleTokens(first.first_position, first.first_row + kTileRows - 1, num_heads) <=
              first.first_token);
    }
    const int visible =
        VisibleTokens(last.first_position, last.first_row + last.num_rows - 1, num_heads);
    REQUIRE(last.end_token ==
            std::min(last.first_token + static_cast<int32_t>(plan.span_tokens), visible));
  }
}

void CheckAnyPlan(const std::vector<AttentionSequence>& sequences, int num_heads,
                  const DecodePlan& plan) {
  CheckPlan(sequences, num_heads, plan);
  if (plan.cluster > 1) CheckPairs(sequences, num_heads, plan);
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
          CheckAnyPlan(sequences, heads, PlanDecodeWith(sequences, heads, 132, span, kClusterCtas));
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
    CheckAnyPlan(sequences, heads, plan);
    REQUIRE(plan.cluster == (PairsTiles(sequences, heads, processors) ? kClusterCtas : 1));
    REQUIRE(plan.num_ctas == std::min<int64_t>(processors / plan.cluster * plan.cluster,
                                               static_cast<int64_t>(plan.items.size())));
    if (processors == 1) continue;
    CheckAnyPlan(sequences, heads,
                 PlanDecodeWith(sequences, heads, processors, plan.span_tokens, kClusterCtas));
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

    REQUIRE(padded.cluster == plan.cluster);
    REQUIRE(padded.num_ctas == processors / plan.cluster * plan.cluster);
    const size_t slices = padded.items.size() / static_cast<size_t>(padded.num_ctas);
    REQUIRE(padded.items.size() == slices * static_cast<size_t>(padded.num_ctas));
    REQUIRE(std::has_single_bit(slices));
    REQUIRE((slices == 1 || padded.items.size() < 2 * plan.items.size()));
    for (size_t i = plan.items.size(); i < padded.items.size(); ++i) {
      REQUIRE(EndsWalk(padded.items[i]));
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
    CheckAnyPlan(sequences, heads, padded);
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
    REQUIRE(plan.cluster == expected.cluster);
    CheckAnyPlan(sequences, heads, plan);
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

TEST_CASE("row tiles are read in pairs where that leaves few thread blocks without rows") {
  CHECK(PairsTiles(Batch(64, 8192, 1), 128, 132));
  CHECK(PairsTiles(Batch(64, 8192, 8), 48, 132));
  CHECK_FALSE(PairsTiles(Batch(64, 8192, 8), 32, 132));  // roles are exchanged
  CHECK(PairsTiles(Batch(1, 100, 1), 65, 132));
  CHECK_FALSE(PairsTiles(Batch(64, 8192, 1), 64, 132));
  CHECK_FALSE(PairsTiles({}, 128, 132));
  // An odd tile among three costs a third more, among nine a ninth.
  CHECK_FALSE(PairsTiles(Batch(1, 8192, 1), 192, 132));
  CHECK(PairsTiles(Batch(1, 8192, 1), 576, 132));
  // A processor that is left over: an eleventh, a ninth.
  CHECK(PairsTiles(Batch(64, 8192, 1), 128, 11));
  CHECK_FALSE(PairsTiles(Batch(64, 8192, 1), 128, 9));
  CHECK_FALSE(PairsTiles(Batch(64, 8192, 1), 128, 1));
  // A prompt's tiles among sequences that generate: what each of them costs counts.
  std::vector<AttentionSequence> mixed = {{{}, 0, 512, 0}, {{}, 512, 1, 511}};
  CHECK(PairsTiles(mixed, 48, 132));
  for (int i = 0; i < 62; ++i) mixed.push_back({{}, 513 + i, 1, 32767});
  CHECK_FALSE(PairsTiles(mixed, 48, 132));
}

// A recorded launch stays in pairs, or not, whatever its steps are.
TEST_CASE("steps that generate are all in pairs or none, by heads and processors") {
  std::mt19937 rng(10);
  for (const int processors : {1, 2, 7, 11, 132}) {
    for (int heads = 1; heads <= 700; heads += 9) {
      const bool pairs = PairsTiles(Batch(1, 1, 1), heads, processors);
      for (int round = 0; round < 5; ++round) {
        REQUIRE(PairsTiles(RandomDecode(rng), heads, processors) == pairs);
      }
    }
  }
}

TEST_CASE("pairs of a step that generates cost no thread block more than before") {
  for (const int heads : {128, 256}) {
    for (const int64_t context : {300, 4096, 32768}) {
      for (const int64_t batch : {1, 4, 64}) {
        const auto sequences = Batch(batch, context, 1);
        for (const int64_t span : {kUnitTokens, kGroupTokens}) {
          const DecodePlan plain = PlanDecodeWith(sequences, heads, 132, span);
          const DecodePlan pairs = PlanDecodeWith(sequences, heads, 132, span, kClusterCtas);
          REQUIRE(pairs.num_ctas == plain.num_ctas);
          REQUIRE(pairs.items.size() == plain.items.size());
          REQUIRE(Makespan(pairs.items, pairs.num_ctas) == Makespan(plain.items, plain.num_ctas));
        }
      }
    }
  }
}

// What engine/cuda makes room for.
TEST_CASE("pairs are at most an eighth more items than tiles and units") {
  std::mt19937 rng(11);
  const auto pick = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution(low, high)(rng);
  };
  int num_paired = 0;
  for (int round = 0; round < 500; ++round) {
    const auto heads = static_cast<int>(pick(1, 130));
    std::vector<AttentionSequence> sequences;
    int64_t row = 0, items = 0;
    for (int64_t i = pick(1, 6); i > 0; --i) {
      sequences.push_back({{}, row, pick(1, pick(1, 300)), pick(0, 5000)});
      const AttentionSequence& s = sequences.back();
      row += s.num_tokens;
      items += (s.num_tokens * heads + kTileRows - 1) / kTileRows *
               ((s.first_position + s.num_tokens + kUnitTokens - 1) / kUnitTokens);
    }
    const DecodePlan plan = PlanDecode(sequences, heads, 132);
    REQUIRE(8 * static_cast<int64_t>(plan.items.size()) <= 9 * items);
    num_paired += plan.cluster - 1;
  }
  CHECK(num_paired > 100);
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
