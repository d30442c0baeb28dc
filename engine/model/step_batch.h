// A step plan laid out for the layers: every scheduled token is a row.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/block_layout.h"
#include "engine/model/config.h"
#include "engine/scheduler/step_plan.h"
#include "kernels/latent_write.h"
#include "kernels/mla_attention.h"

namespace latentd {

// Neighbouring rows of one width: what one product over a slice of the weights takes.
struct WidthGroup {
  Width width;
  int64_t first_row = 0, num_rows = 0;
  size_t first_sequence = 0, num_sequences = 0;  // the latter shrinks as they are cancelled
};

// A row of a batch whose logits the plan wants.
struct WantedRow {
  size_t entry;  // of the plan
  int64_t position;
  int64_t row;
};

// Rebuilt for each step; keeps its capacity. Spans borrow from the plan. Entries of equal width
// stand together, in the plan's order; widths follow each other as they first appear there.
struct StepBatch {
  std::vector<uint32_t> token_ids;                     // [T]
  std::vector<int32_t> positions;                      // [T]
  std::vector<AttentionSequence> sequences;            // one per plan entry not cancelled yet
  std::vector<const std::atomic<bool>*> cancel_flags;  // of each sequence; may be null
  std::vector<size_t> entries;                         // plan entry of each sequence
  std::vector<WidthGroup> groups;                      // of all rows, in order
  std::vector<uint32_t> blocks;                        // [T] granule of the cache block of each row
  std::vector<int32_t> block_offsets;                  // [T] token index in that block

  int64_t num_rows() const { return static_cast<int64_t>(token_ids.size()); }

  // `full` stands for a width, or the half of one, that an entry leaves at 0.
  void Build(const StepPlan& plan, const Width& full);
  // The slots of one layer for the rows of a group, whose blocks have `layout` and lie in `pool`,
  // into `slots`.
  void Slots(const WidthGroup& group, const BlockLayout& layout, int64_t layer, std::byte* pool,
             std::vector<LatentSlot>* slots) const;
  // The rows that plan, which it was built of, wants logits of, in the batch's order: `rows` is
  // overwritten.
  void FindWanted(const StepPlan& plan, std::vector<WantedRow>* rows) const;
  // Sequences cancelled since are not attended to any more; false when none is left.
  bool DropCancelled();

 private:
  void AddEntry(const PlanEntry& entry, size_t index);
};

}  // namespace latentd
