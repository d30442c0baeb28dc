// Steps that generate, one token of each sequence, in few shapes: what a shape says is all that
// differs in what their kernels are given by value, so that one graph serves every step of it.
// (Whether the attention runs in clusters is the same for all steps of a model: PairsTiles.)
#pragma once

#include <cstdint>
#include <optional>

#include "engine/model/config.h"
#include "engine/model/step_batch.h"

namespace latentd {

struct DecodeShape {
  int64_t num_rows = 0;     // of every activation, padding and all
  int64_t num_items = 0;    // of the attention, those without rows too
  int64_t span_tokens = 0;  // of an item
  Width width;
  // Of the draws (SamplerArgs), where every row's token is drawn within; none: they stand outside.
  std::optional<int32_t> max_top = {};
  friend bool operator==(const DecodeShape&, const DecodeShape&) = default;
};

// One token of every sequence, all of one width, none cancelled yet: row i is sequence i.
bool IsDecodeStep(const StepBatch& batch);

// What so many rows are padded to: 1, 2, 3, 4, 6, 8, 12, 16 …, two numbers for each doubling, but
// no more than `most`. REQUIRES: 1 <= num_rows <= most.
int64_t PaddedRows(int64_t num_rows, int64_t most);

// Adds rows to a decode step up to num_rows. They are copies of row 0, down to the experts that
// they choose, but that they have no slot in the cache: blocks · 64 + block_offsets is negative.
void PadRows(int64_t num_rows, StepBatch* batch);

}  // namespace latentd
