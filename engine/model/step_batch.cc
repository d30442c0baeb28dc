#include "engine/model/step_batch.h"

#include <algorithm>

#include "kernels/core/check.h"

namespace latentd {
namespace {

Width WidthOf(const PlanEntry& entry, const Width& full) {
  return {entry.width_q != 0 ? entry.width_q : full.q,
          entry.width_kv != 0 ? entry.width_kv : full.kv};
}

}  // namespace

void StepBatch::Build(const StepPlan& plan, const Width& full) {
  token_ids.clear();
  positions.clear();
  sequences.clear();
  cancel_flags.clear();
  entries.clear();
  groups.clear();
  blocks.clear();
  block_offsets.clear();
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const Width width = WidthOf(plan.entries[i], full);
    const auto same = [&width](const WidthGroup& group) { return group.width == width; };
    if (std::any_of(groups.begin(), groups.end(), same)) continue;
    groups.push_back({width, num_rows(), 0, sequences.size(), 0});
    for (size_t j = i; j < plan.entries.size(); ++j) {
      if (WidthOf(plan.entries[j], full) == width) AddEntry(plan.entries[j], j);
    }
    groups.back().num_rows = num_rows() - groups.back().first_row;
    groups.back().num_sequences = sequences.size() - groups.back().first_sequence;
  }
}

void StepBatch::AddEntry(const PlanEntry& entry, size_t index) {
  sequences.push_back({entry.block_table, num_rows(), entry.num_tokens(), entry.first_position});
  cancel_flags.push_back(entry.cancelled);
  entries.push_back(index);
  for (int64_t t = 0; t < entry.num_tokens(); ++t) {
    const int64_t position = entry.first_position + t;
    const auto block_idx = static_cast<size_t>(position / kBlockTokens);
    LATENTD_CHECK(block_idx < entry.block_table.size());
    token_ids.push_back(entry.token_ids[static_cast<size_t>(t)]);
    positions.push_back(static_cast<int32_t>(position));
    blocks.push_back(entry.block_table[block_idx]);
    block_offsets.push_back(static_cast<int32_t>(position % kBlockTokens));
  }
}

void StepBatch::Slots(const WidthGroup& group, const BlockLayout& layout, int64_t layer,
                      std::byte* pool, std::vector<LatentSlot>* slots) const {
  const LayerOffsets offsets = layout.layer(layer);
  slots->resize(static_cast<size_t>(group.num_rows));
  auto row = static_cast<size_t>(group.first_row);
  for (LatentSlot& slot : *slots) {
    std::byte* const block = pool + int64_t{blocks[row]} * kGranuleBytes;
    slot.row = block + offsets.rows + block_offsets[row] * offsets.row_bytes;
    slot.alphas = layout.num_alphas == 0 ? nullptr
                                         : reinterpret_cast<float*>(block + offsets.alphas) +
                                               block_offsets[row] * layout.num_alphas;
    slot.scale = layout.format == CacheFormat::kBf16
                     ? nullptr
                     : reinterpret_cast<float*>(block + offsets.scales) + block_offsets[row];
    ++row;
  }
}

void StepBatch::FindWanted(const StepPlan& plan, std::vector<WantedRow>* rows) const {
  rows->clear();
  for (size_t i = 0; i < sequences.size(); ++i) {
    const AttentionSequence& sequence = sequences[i];
    const PlanEntry& entry = plan.entries[entries[i]];
    const int64_t skipped =
        std::max<int64_t>(0, entry.first_logits_position - entry.first_position);
    for (int64_t t = skipped; t < sequence.num_tokens; ++t) {
      rows->push_back({entries[i], entry.first_position + t, sequence.first_row + t});
    }
  }
}

bool StepBatch::DropCancelled() {
  size_t kept = 0;
  for (WidthGroup& group : groups) {
    const size_t first = kept, end = group.first_sequence + group.num_sequences;
    for (size_t i = group.first_sequence; i < end; ++i) {
      if (cancel_flags[i] != nullptr && cancel_flags[i]->load(std::memory_order_relaxed)) continue;
      sequences[kept] = sequences[i];
      cancel_flags[kept] = cancel_flags[i];
      entries[kept] = entries[i];
      ++kept;
    }
    group.first_sequence = first;
    group.num_sequences = kept - first;
  }
  sequences.resize(kept);
  cancel_flags.resize(kept);
  entries.resize(kept);
  return kept > 0;
}

}  // namespace latentd
