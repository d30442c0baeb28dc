// Which widths a sweep goes over.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

struct GridRanks {
  std::vector<uint32_t> q, kv;  // ascending; q is {0} for a model that projects queries directly
};

// The ranks asked for, or, where `q` or `kv` is empty, those that the checkpoint lists.
// INVALID_ARGUMENT: the model has a fixed width, or the checkpoint does not allow one of the ranks;
// the message names the flag and what is allowed.
absl::StatusOr<GridRanks> ResolveGrid(const v1::Model& model, const std::vector<uint32_t>& q,
                                      const std::vector<uint32_t>& kv);

// Every pair, q outermost.
std::vector<std::optional<v1::Width>> AllPairs(const GridRanks& ranks);

}  // namespace latentd
