#include "bench/gpu/rows.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "kernels/cuda/decode_plan.h"
#include "kernels/cuda/swapped_layout.h"

namespace latentd::bench {
namespace {

constexpr int64_t kH100Bytes = int64_t{79} << 30;  // of 80 GB, what is free
constexpr int kProcessors = 132;

TEST_CASE("rows have names of their own, by which they are found") {
  std::set<std::string_view> names;
  for (const Row& row : Rows()) {
    CHECK(names.insert(row.name).second);
    CHECK(FindRow(row.name) == &row);
    CHECK((row.shapes.size() == 1 || row.shapes.size() == 2));
  }
  CHECK(FindRow("decode") == nullptr);
}

TEST_CASE("a row's name tells its shape") {
  for (const Row& row : Rows()) {
    INFO(row.name);
    const std::string name(row.name);
    const DecodeShape& shape = row.shapes.back();
    CHECK(name.find(std::to_string(shape.batch) + " x " + std::to_string(shape.context / 1024) +
                    "k") != std::string::npos);
    if (shape.num_kv_groups != 0) {
      CHECK(name.find("G " + std::to_string(shape.num_kv_groups) + ",") != std::string::npos);
    } else if (shape.query_tokens != 1) {
      CHECK(name.find(std::to_string(shape.num_heads) + " heads of " +
                      std::to_string(shape.query_tokens) + " tokens") != std::string::npos);
    } else {
      CHECK(name.find(std::to_string(shape.num_heads) + " rows") != std::string::npos);
    }
    CHECK(shape.context % 1024 == 0);
  }
}

TEST_CASE("a pair differs in its key norm alone, in whether tiles are paired, or in roles") {
  for (const Row& row : Rows()) {
    if (row.shapes.size() == 1) continue;
    INFO(row.name);
    DecodeShape without = row.shapes[1];
    if (!row.shapes[0].may_pair || !row.shapes[0].may_swap) {
      CHECK((without.may_pair && without.may_swap));
      CHECK(row.shapes[0].may_pair != row.shapes[0].may_swap);
      CHECK(row.shapes[0].num_kv_groups == without.num_kv_groups);
      CHECK(FloorBytes(row.shapes[0]) == FloorBytes(without));
      CHECK(FloorFlops(row.shapes[0]) == FloorFlops(without));
      const std::vector<uint32_t> tables = RandomTables(without, 1);
      const auto num_heads = static_cast<int>(without.num_heads);
      CHECK(cuda::PairsTiles(Sequences(without, tables), num_heads, kProcessors) ==
            row.shapes[0].may_swap);
      CHECK((cuda::DecodeColumns(num_heads, num_heads) == 0) == row.shapes[0].may_swap);
      continue;
    }
    CHECK(without.num_kv_groups >= 1);
    CHECK(without.num_heads % without.num_kv_groups == 0);
    without.num_kv_groups = 0;
    CHECK(FloorBytes(row.shapes[0]) == FloorBytes(without));
    CHECK(FloorFlops(row.shapes[0]) == FloorFlops(without));
    CHECK(row.shapes[0].num_kv_groups == 0);
  }
}

TEST_CASE("a row of one shape without key norm can be timed beside a peer") {
  for (const Row& row : Rows()) {
    INFO(row.name);
    CHECK(IsComparable(row) ==
          (row.name.starts_with("decode ") || row.name.starts_with("attention ")));
  }
  CHECK(!IsComparable({"a pair", {{}, {}}}));
  CHECK(!IsComparable({"alone", {{.num_kv_groups = 1}}}));
}

TEST_CASE("every row fits into the memory of an H100, its partial sums among it") {
  for (const Row& row : Rows()) {
    INFO(row.name);
    int64_t pool = 0, partials = 0;
    for (const DecodeShape& shape : row.shapes) {
      const std::vector<uint32_t> tables = RandomTables(shape, 1);
      const auto plan = cuda::PlanDecode(Sequences(shape, tables),
                                         static_cast<int>(shape.num_heads), kProcessors);
      pool = std::max(pool, PoolBytes(shape));
      partials +=
          int64_t{plan.num_slots} * plan.slot_rows * cuda::SlotRowFloats(shape.row_latent) * 4;
    }
    CHECK(pool + partials < kH100Bytes / 2);
  }
}

}  // namespace
}  // namespace latentd::bench
