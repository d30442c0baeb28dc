// The rows of the benchmark: what is timed, under which name.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "bench/gpu/decode_shape.h"

namespace latentd::bench {

struct Row {
  std::string_view name;
  std::vector<DecodeShape> shapes;  // timed in turn: one, or two that are compared
};

// Most telling first.
std::span<const Row> Rows();
// Null when there is no such row.
const Row* FindRow(std::string_view name);
// Whether another library's attention can be timed beside the row's one shape: it has no key norm.
bool IsComparable(const Row& row);

}  // namespace latentd::bench
