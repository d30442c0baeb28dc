// Ranks and lists of numbers as the command line names them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

// "64:768:16" is 64, 80, … up to 768 at most; "241:242" has steps of 1; "96" is one rank; a comma
// joins any of these ("16,32,64:96:16"). Ascending, each rank once, at least one, at most 4096.
// INVALID_ARGUMENT says what is wrong with `text`; ranks are from 1 to 2^31 − 1.
absl::StatusOr<std::vector<uint32_t>> ParseRanks(std::string_view text);

// "512,256": query rank, 0 for models that project queries directly, and latent rank. Whether a
// model has them is not asked here. INVALID_ARGUMENT: "needs Q,KV, two ranks, not '512'".
absl::StatusOr<v1::Width> ParseWidth(std::string_view text);

// "0,512": the numbers in their order. INVALID_ARGUMENT when one is none, or not in least…most.
absl::StatusOr<std::vector<int64_t>> ParseCounts(std::string_view text, int64_t least,
                                                 int64_t most);

}  // namespace latentd
