// Which block of threads computes what in a launch of the decode attention: pure host functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/host_device.h"
#include "kernels/mla_attention.h"

namespace latentd::cuda {

// Thread blocks of a cluster: two row tiles of a sequence read each tile of tokens once.
constexpr int32_t kClusterCtas = 2;

// Up to 64 query rows of one sequence over one aligned span of its tokens. Read by the device.
struct DecodeItem {
  int32_t sequence;        // row of the block tables
  int32_t q_row;           // first row of q and out
  int32_t num_rows;        // 1…64; 0: it only fetches for the other item of a pair
  int32_t first_row;       // of these rows within the sequence's num_tokens · H
  int32_t first_position;  // of the sequence's first query token
  int32_t first_token;     // multiple of 512
  int32_t end_token;       // exclusive: the span's end, or what the last row (of a pair) may see;
                           // 0: no item, and none follows it in a thread block
  int32_t slot;            // its partial sum; without rows unused
};
LATENTD_HD constexpr bool EndsWalk(const DecodeItem& item) { return item.end_token == 0; }

// The rows of one tile and the partial sums that make their output, in token order.
struct DecodeRowTile {
  int32_t q_row;
  int32_t num_rows;
  int32_t first_slot;
  int32_t num_slots;
};

struct DecodePlan {
  int64_t span_tokens =
      kUnitTokens;                // of an item: kUnitTokens or kGroupTokens; no bit depends on it
  std::vector<DecodeItem> items;  // thread block i takes items i, i + num_ctas, …; none may follow
  std::vector<DecodeRowTile> row_tiles;
  int32_t num_slots = 0;
  int32_t slot_rows = 0;  // rows of the largest tile
  int32_t num_ctas = 0;
  // 1, or kClusterCtas: then thread blocks 2i and 2i + 1 are a cluster, num_ctas and the number of
  // items are even, and items 2i and 2i + 1 a pair: two row tiles of one sequence over the same
  // tokens, to the end of the one that sees more. A tile of which the other sees nothing is masked
  // whole there, which changes no bit.
  int32_t cluster = 1;
};

// How many tokens row `row` of a sequence may see.
LATENTD_HD constexpr int VisibleTokens(int first_position, int row, int num_heads) {
  return first_position + row / num_heads + 1;
}
LATENTD_HD constexpr int KvGroupOfRow(int row, int num_heads, int num_kv_groups) {
  return row % num_heads * num_kv_groups / num_heads;
}

// A slot is [slot_rows][SlotRowFloats]: the sums of a row's lanes, its largest score, the sum of
// its weights, and two floats that keep rows aligned to 16 bytes.
LATENTD_HD constexpr int64_t SlotRowFloats(int64_t row_latent) { return row_latent + 4; }

// What an item costs beyond its tiles, in tiles: queries in, first tile's latency, partial sum out.
// A published kernel's scheduler counts 7.5 µs of these to 3 µs a tile; not measured here.
constexpr int64_t kItemOverheadTiles = 2;

// Tiles (and overheads) of the thread block that has most to do.
int64_t Makespan(std::span<const DecodeItem> items, int64_t num_ctas);

// One thread block on each processor, or fewer when there is less to do.
int32_t ChooseNumCtas(int64_t num_items, int num_processors);

// Whether row tiles should be planned in pairs; never in exchanged roles (swapped_layout.h). An odd
// tile leaves its partner without rows, and an odd processor is left idle: they may cost less than
// an eighth more items, since to share what is read gains no more (mla_decode.cu, estimated). Where
// each sequence has one token the answer depends on num_heads and num_processors alone, so a
// recorded launch never has to change it.
bool PairsTiles(std::span<const AttentionSequence> sequences, int num_heads, int num_processors);

// Items of the given span, in pairs if cluster is kClusterCtas. REQUIRES: span_tokens is
// kUnitTokens or kGroupTokens; cluster <= num_processors; positions below 2³¹; sequences without
// tokens make no item.
DecodePlan PlanDecodeWith(std::span<const AttentionSequence> sequences, int num_heads,
                          int num_processors, int64_t span_tokens, int32_t cluster = 1);
// In pairs as PairsTiles says. The span with the smaller makespan; whole groups when equal, as they
// have fewer partial sums.
DecodePlan PlanDecode(std::span<const AttentionSequence> sequences, int num_heads,
                      int num_processors);

// PlanDecode for one step after the other, in the same memory. One thread at a time.
class DecodePlanner {
 public:
  // May be changed, and is valid until the next call.
  DecodePlan& Plan(std::span<const AttentionSequence> sequences, int num_heads, int num_processors);

 private:
  DecodePlan units_, groups_;
  std::vector<int64_t> load_;
};

// Takes from a plan what differs between steps that one recorded launch is to serve: of its sizes,
// the numbers of row tiles and items, span_tokens, slot_rows and cluster alone are left to tell
// launches apart. The queries of a step are those of num_tokens tokens, one of each sequence, and
// room for padded_tokens. The outputs of those beyond become copies of the first token's: they are
// made of its partial sums. Empty items follow, up to num_ctas · 2^i of them, and all processors
// get a thread block (but an odd one of a plan in pairs). REQUIRES: a plan of such sequences, whose
// first_row are 0 … num_tokens − 1 in order.
void PadPlan(int64_t num_tokens, int64_t padded_tokens, int num_heads, int num_processors,
             DecodePlan* plan);

}  // namespace latentd::cuda
