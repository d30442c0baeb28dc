#include "engine/cuda/decode_step.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <set>

namespace latentd {
namespace {

const std::vector<uint32_t> kTable = {7, 9};
const std::vector<uint32_t> kIds = {3, 4};

PlanEntry Entry(int64_t first_position, size_t num_tokens = 1) {
  PlanEntry entry;
  entry.first_position = first_position;
  entry.token_ids = std::span(kIds).first(num_tokens);
  entry.block_table = kTable;
  return entry;
}

StepBatch Build(const std::vector<PlanEntry>& entries) {
  StepPlan plan;
  plan.entries = entries;
  StepBatch batch;
  batch.Build(plan, {24, 40});
  batch.DropCancelled();
  return batch;
}

}  // namespace

TEST_CASE("rows are padded to few numbers, by less than a half and never beyond the most") {
  std::set<int64_t> numbers;
  for (int64_t rows = 1; rows <= 1000; ++rows) {
    const int64_t padded = PaddedRows(rows, 1000);
    REQUIRE(padded >= rows);
    REQUIRE(2 * padded < 3 * rows);
    REQUIRE(PaddedRows(padded, 1000) == padded);
    numbers.insert(padded);
  }
  CHECK(numbers == std::set<int64_t>{1,  2,  3,  4,   6,   8,   12,  16,  24,  32,
                                     48, 64, 96, 128, 192, 256, 384, 512, 768, 1000});
  CHECK(PaddedRows(5, 5) == 5);
}

TEST_CASE("a decode step has one token of each sequence, of one width, and nobody who left") {
  CHECK(IsDecodeStep(Build({Entry(0)})));
  CHECK(IsDecodeStep(Build({Entry(70), Entry(5), Entry(64)})));
  CHECK_FALSE(IsDecodeStep(Build({Entry(5, 2)})));
  CHECK_FALSE(IsDecodeStep(Build({Entry(5), Entry(6, 2)})));
  PlanEntry narrow = Entry(5);
  narrow.width_kv = 10;
  CHECK(IsDecodeStep(Build({narrow, narrow})));
  CHECK_FALSE(IsDecodeStep(Build({Entry(5), narrow})));
  std::atomic<bool> cancelled = true;
  PlanEntry gone = Entry(5);
  gone.cancelled = &cancelled;
  CHECK_FALSE(IsDecodeStep(Build({Entry(5), gone})));
  CHECK_FALSE(IsDecodeStep(Build({gone})));
  cancelled = false;
  CHECK(IsDecodeStep(Build({Entry(5), gone})));
}

TEST_CASE("padding is the first row without a slot") {
  StepBatch batch = Build({Entry(70), Entry(5)});
  PadRows(4, &batch);
  CHECK(batch.num_rows() == 4);
  CHECK(batch.token_ids == std::vector<uint32_t>{3, 3, 3, 3});
  CHECK(batch.positions == std::vector<int32_t>{70, 5, 70, 70});
  CHECK(batch.groups[0].num_rows == 4);
  CHECK(batch.sequences.size() == 2);
  for (size_t row = 0; row < 4; ++row) {
    const int64_t slot = int64_t{batch.blocks[row]} * kBlockTokens + batch.block_offsets[row];
    CHECK((slot < 0) == (row >= 2));
  }
}

}  // namespace latentd
