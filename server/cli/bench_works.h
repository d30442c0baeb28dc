// Which pieces of work `latentd bench` times, and the cache that they need.
#pragma once

#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/bench/work.h"
#include "engine/model/config.h"
#include "server/cli/commands.h"

namespace latentd {

// The command's widths, or the full one; INVALID_ARGUMENT for one that the model does not allow.
absl::StatusOr<std::vector<Width>> WidthsOf(const ModelConfig& config,
                                            const std::vector<v1::Width>& given);

// Every work at one depth.
std::vector<BenchWork> WorksAt(const BenchCommand& command, int64_t depth, const Width& width);

struct CacheNeed {
  int64_t sequences = 0;
  int64_t tokens = 0;  // of each

  int64_t blocks() const;
};
// Of one work after the other.
CacheNeed NeedOf(std::span<const BenchWork> works);
// The most that any depth needs: of sequences, of tokens and of blocks. INVALID_ARGUMENT when a
// depth is beyond the model's context.
struct MostNeed {
  int64_t sequences = 0, tokens = 0, blocks = 0;
};
absl::StatusOr<MostNeed> MostNeedOf(const ModelConfig& config, const BenchCommand& command);

}  // namespace latentd
