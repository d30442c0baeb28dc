#include "engine/cuda/decode_step.h"

#include <algorithm>
#include <bit>

#include "kernels/core/check.h"

namespace latentd {

bool IsDecodeStep(const StepBatch& batch) {
  return batch.groups.size() == 1 &&
         static_cast<int64_t>(batch.sequences.size()) == batch.num_rows() &&
         std::all_of(batch.sequences.begin(), batch.sequences.end(),
                     [](const AttentionSequence& s) { return s.num_tokens == 1; });
}

int64_t PaddedRows(int64_t num_rows, int64_t most) {
  LATENTD_CHECK(num_rows >= 1 && num_rows <= most);
  const auto ceiling = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(num_rows)));
  const int64_t between = ceiling / 4 * 3;  // of one power of two and the next
  return std::min(between >= num_rows ? between : ceiling, most);
}

void PadRows(int64_t num_rows, StepBatch* batch) {
  const auto count = static_cast<size_t>(num_rows);
  batch->token_ids.resize(count, batch->token_ids[0]);
  batch->positions.resize(count, batch->positions[0]);
  batch->blocks.resize(count, 0);
  batch->block_offsets.resize(count, -1);
  batch->groups[0].num_rows = num_rows;
}

}  // namespace latentd
