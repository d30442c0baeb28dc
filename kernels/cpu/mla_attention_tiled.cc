// A row block is a few neighbouring query tokens of one sequence, which share every converted tile.
// Most row blocks are one work item. One that is a large share of the call, such as the decode of a
// long sequence, is split into parts of its context, a unit of 512 tokens or a group of 2048 each.
// Whole or in parts, a row's state is the same expression: tiles fold left into units, units into
// groups, groups into the total, so that the cut may follow the load.
#include "kernels/cpu/mla_attention_tiled.h"

#include <algorithm>
#include <functional>
#include <vector>

#include "kernels/core/rounding.h"
#include "kernels/core/scratch.h"
#include "kernels/core/thread_pool.h"

namespace latentd {
namespace {

// Query rows (tokens × heads) of a row block: their states stay in the second-level cache.
constexpr int64_t kBlockRows = 128;
// A row block is split when it is more than 1 / (threads · this) of the call.
constexpr int64_t kSharesPerThread = 4;
// Contexts of more units than this are split by groups, which bounds the memory for partial states.
constexpr int64_t kMaxUnitParts = 16;

struct RowBlock {
  const AttentionSequence* sequence = nullptr;
  int64_t first_token = 0;
  int64_t num_tokens = 0;
  int64_t part_tokens = 0;  // context tokens of a part; 0: not split
  int64_t num_parts = 1;
  int64_t first_state = 0;  // of num_parts · num_tokens partial states

  int64_t Position(int64_t token) const { return sequence->first_position + first_token + token; }
  int64_t ContextEnd() const { return Position(num_tokens - 1) + 1; }
  int64_t Work() const { return num_tokens * CeilDiv(ContextEnd(), kBlockTokens); }
};

struct Item {
  int64_t row_block;
  int64_t part;
};

// The lists of one call, kept from call to call for their capacity.
struct Plan {
  std::vector<RowBlock> row_blocks;
  std::vector<Item> items;
  int64_t num_states = 0;
  Scratch states;
};

// What a thread works with on one item.
struct Workspace {
  Scratch queries, prepared, scores, states;
};

// The same, laid out for one row block.
struct Buffers {
  std::byte* queries;   // [num_tokens] packed
  std::byte* prepared;  // one tile
  std::byte* scores;
  float* unit;   // [num_tokens] states
  float* group;  // [num_tokens] states
};

class Attention {
 public:
  Attention(const Context& context, const AttentionKernels& kernels, const MlaAttentionArgs& args,
            Plan& plan);
  void Run();

 private:
  void MakePlan();
  void RunItem(const Item& item) const;
  void RunContext(const RowBlock& block, int64_t begin, int64_t end, const Buffers& buffers,
                  float* total) const;
  void RunUnit(const RowBlock& block, int64_t begin, int64_t end, const Buffers& buffers,
               float* states) const;
  void FoldStates(const RowBlock& block, int64_t begin, float* states, float* later) const;
  void CombineParts(const RowBlock& block, int64_t token) const;

  AttentionTile TileAt(const RowBlock& block, int64_t position, int64_t prefetch_end) const;
  AttentionState StateAt(float* states, int64_t idx) const {
    float* state = states + idx * state_floats_;
    return {state + acc_floats_, state + acc_floats_ + args_.num_heads, state};
  }
  // Of q and out.
  int64_t FirstRow(const RowBlock& block, int64_t token) const {
    return (block.sequence->first_row + block.first_token + token) * args_.num_heads;
  }

  const Context& context_;
  const AttentionKernels& kernels_;
  const MlaAttentionArgs& args_;
  Plan& plan_;
  AttentionShape shape_;
  int64_t acc_floats_;
  int64_t state_floats_;
  int64_t query_bytes_;
  float* partial_states_ = nullptr;  // of the row blocks that are split
};

Attention::Attention(const Context& context, const AttentionKernels& kernels,
                     const MlaAttentionArgs& args, Plan& plan)
    : context_(context), kernels_(kernels), args_(args), plan_(plan) {
  shape_.num_heads = args.num_heads;
  shape_.num_groups = args.num_kv_groups;
  shape_.row_latent = args.row_latent;
  shape_.rope_dim = args.rope_dim;
  shape_.alpha_use = args.key_norm == KeyNorm::kNone        ? AlphaUse::kNone
                     : args.key_norm == KeyNorm::kBlockwise ? AlphaUse::kContent
                                                            : AlphaUse::kWhole;
  shape_.scale = args.softmax_scale;
  acc_floats_ = args.num_heads * args.row_latent;
  state_floats_ = acc_floats_ + CeilDiv(2 * args.num_heads, 16) * 16;
  query_bytes_ = kernels.query_bytes(shape_);
}

void Attention::MakePlan() {
  plan_.row_blocks.clear();
  plan_.items.clear();
  plan_.num_states = 0;
  const int64_t tokens_per_block = std::max<int64_t>(1, kBlockRows / args_.num_heads);
  int64_t total_work = 0;
  for (const AttentionSequence& sequence : args_.sequences) {
    for (int64_t token = 0; token < sequence.num_tokens; token += tokens_per_block) {
      const int64_t count = std::min(tokens_per_block, sequence.num_tokens - token);
      plan_.row_blocks.push_back(
          {.sequence = &sequence, .first_token = token, .num_tokens = count});
      total_work += plan_.row_blocks.back().Work();
    }
  }
  const int64_t num_threads = context_.pool != nullptr ? context_.pool->num_threads() : 1;
  for (size_t i = 0; i < plan_.row_blocks.size(); ++i) {
    RowBlock& block = plan_.row_blocks[i];
    const bool is_large = block.Work() * num_threads * kSharesPerThread > total_work;
    if (num_threads > 1 && is_large && block.ContextEnd() > kUnitTokens) {
      const bool by_units = CeilDiv(block.ContextEnd(), kUnitTokens) <= kMaxUnitParts;
      block.part_tokens = by_units ? kUnitTokens : kGroupTokens;
      block.num_parts = CeilDiv(block.ContextEnd(), block.part_tokens);
      block.first_state = plan_.num_states;
      plan_.num_states += block.num_parts * block.num_tokens;
    }
    for (int64_t part = 0; part < block.num_parts; ++part) {
      plan_.items.push_back({static_cast<int64_t>(i), part});
    }
  }
}

void Attention::Run() {
  MakePlan();
  partial_states_ = plan_.states.GetArray<float>(plan_.num_states * state_floats_);
  const auto run = [this](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) RunItem(plan_.items[i]);
  };
  ParallelFor(context_.pool, static_cast<int64_t>(plan_.items.size()), 1, std::ref(run));
  for (const RowBlock& block : plan_.row_blocks) {
    if (block.part_tokens == 0) continue;
    const auto combine = [&](int64_t begin, int64_t end, int) {
      for (int64_t token = begin; token < end; ++token) CombineParts(block, token);
    };
    ParallelFor(context_.pool, block.num_tokens, 1, std::ref(combine));
  }
}

AttentionTile Attention::TileAt(const RowBlock& block, int64_t position,
                                int64_t prefetch_end) const {
  const auto rows_at = [&](int64_t p) {
    const int64_t granule = block.sequence->block_table[p / kBlockTokens];
    return args_.pool + granule * kGranuleBytes;
  };
  AttentionTile tile;
  tile.rows = rows_at(position) + args_.layer.rows;
  tile.row_bytes = args_.layer.row_bytes;
  tile.scales = reinterpret_cast<const float*>(rows_at(position) + args_.layer.scales);
  tile.alphas = reinterpret_cast<const float*>(rows_at(position) + args_.layer.alphas);
  const int64_t next = position + kBlockTokens;
  if (next < prefetch_end) {
    tile.next = rows_at(next) + args_.layer.rows;
    tile.next_bytes = std::min(kBlockTokens, prefetch_end - next) * tile.row_bytes;
    if (args_.layer.format == CacheFormat::kInt8) {  // four lines, needed before any row
      const std::byte* scales = rows_at(next) + args_.layer.scales;
      for (int i = 0; i < 256; i += 64) __builtin_prefetch(scales + i);
    }
  }
  return tile;
}

// Folds the tiles of one unit into `states`, cleared first, one for every query token of the block.
void Attention::RunUnit(const RowBlock& block, int64_t begin, int64_t end, const Buffers& buffers,
                        float* states) const {
  for (int64_t token = 0; token < block.num_tokens; ++token) {
    kernels_.clear(shape_, StateAt(states, token));
  }
  for (int64_t position = begin; position < std::min(begin + kUnitTokens, end);
       position += kBlockTokens) {
    AttentionTile tile = TileAt(block, position, end);
    kernels_.prepare(shape_, tile, std::min(kBlockTokens, end - position), buffers.prepared);
    for (int64_t token = 0; token < block.num_tokens; ++token) {
      const int64_t visible = std::min(kBlockTokens, block.Position(token) + 1 - position);
      if (visible <= 0) continue;
      kernels_.attend(shape_, tile, visible, buffers.prepared,
                      buffers.queries + token * query_bytes_, buffers.scores,
                      StateAt(states, token));
      tile.next = nullptr;  // one query token has fetched it
    }
  }
}

// Folds the states `later`, of the context from `begin` on, into `states`, for the tokens that see
// it.
void Attention::FoldStates(const RowBlock& block, int64_t begin, float* states,
                           float* later) const {
  for (int64_t token = 0; token < block.num_tokens; ++token) {
    if (block.Position(token) < begin) continue;
    kernels_.fold(shape_, StateAt(states, token), StateAt(later, token));
  }
}

// The context [begin, end) into `total`, which holds the first group until the next one is folded
// in.
void Attention::RunContext(const RowBlock& block, int64_t begin, int64_t end,
                           const Buffers& buffers, float* total) const {
  float* group = total;
  int64_t group_begin = begin;
  for (int64_t unit = begin; unit < end; unit += kUnitTokens) {
    if (unit == begin || unit % kGroupTokens == 0) {
      group = unit == begin ? total : buffers.group;
      group_begin = unit;
      RunUnit(block, unit, end, buffers, group);
    } else {
      RunUnit(block, unit, end, buffers, buffers.unit);
      FoldStates(block, unit, group, buffers.unit);
    }
    const int64_t next = unit + kUnitTokens;
    if (group != total && (next >= end || next % kGroupTokens == 0)) {
      FoldStates(block, group_begin, total, group);
    }
  }
}

void Attention::RunItem(const Item& item) const {
  thread_local Workspace work;
  const RowBlock& block = plan_.row_blocks[item.row_block];
  const int64_t tokens = block.num_tokens;
  const int64_t states_floats = tokens * state_floats_;
  float* states = work.states.GetArray<float>(3 * states_floats);
  const Buffers buffers = {.queries = work.queries.Get(tokens * query_bytes_),
                           .prepared = work.prepared.Get(kernels_.prepared_bytes(shape_)),
                           .scores = work.scores.Get(kernels_.score_bytes(shape_)),
                           .unit = states,
                           .group = states + states_floats};
  for (int64_t token = 0; token < tokens; ++token) {
    kernels_.pack_query(shape_, args_.q.row(FirstRow(block, token)), args_.q.ld,
                        buffers.queries + token * query_bytes_);
  }
  float* total = states + 2 * states_floats;
  if (block.part_tokens != 0) {
    const int64_t begin = item.part * block.part_tokens;
    RunContext(block, begin, std::min(begin + block.part_tokens, block.ContextEnd()), buffers,
               total);
    std::copy_n(total, states_floats,
                partial_states_ + (block.first_state + item.part * tokens) * state_floats_);
    return;
  }
  RunContext(block, 0, block.ContextEnd(), buffers, total);
  for (int64_t token = 0; token < tokens; ++token) {
    kernels_.finish(shape_, StateAt(total, token), args_.out.row(FirstRow(block, token)),
                    args_.out.ld);
  }
}

// The same folds as RunContext's, over the parts of a row block that was split.
void Attention::CombineParts(const RowBlock& block, int64_t token) const {
  const auto state = [&](int64_t part) {
    return StateAt(partial_states_, block.first_state + part * block.num_tokens + token);
  };
  const int64_t parts_per_group = kGroupTokens / block.part_tokens;
  const int64_t num_parts = block.Position(token) / block.part_tokens + 1;  // that this token sees
  for (int64_t group = 0; group < num_parts; group += parts_per_group) {
    const int64_t group_end = std::min(group + parts_per_group, num_parts);
    for (int64_t part = group + 1; part < group_end; ++part) {
      kernels_.fold(shape_, state(group), state(part));
    }
    if (group > 0) kernels_.fold(shape_, state(0), state(group));
  }
  kernels_.finish(shape_, state(0), args_.out.row(FirstRow(block, token)), args_.out.ld);
}

}  // namespace

void MlaAttentionTiled(const Context& context, const AttentionKernels& kernels,
                       const MlaAttentionArgs& args) {
  thread_local Plan plan;
  Attention(context, kernels, args, plan).Run();
}

}  // namespace latentd
