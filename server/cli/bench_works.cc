#include "server/cli/bench_works.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/block_layout.h"
#include "kernels/core/rounding.h"

namespace latentd {

absl::StatusOr<std::vector<Width>> WidthsOf(const ModelConfig& config,
                                            const std::vector<v1::Width>& given) {
  if (given.empty()) return std::vector<Width>{config.full_width()};
  std::vector<Width> widths;
  for (const v1::Width& width : given) {
    widths.push_back({width.q(), width.kv()});
    if (!config.Allows(widths.back())) {
      return absl::InvalidArgumentError(
          fmt::format("--width {},{} is no width of this model", width.q(), width.kv()));
    }
  }
  return widths;
}

std::vector<BenchWork> WorksAt(const BenchCommand& command, int64_t depth, const Width& width) {
  std::vector<BenchWork> works;
  for (const int64_t tokens : command.prefills) {
    works.push_back({BenchWork::Kind::kPrefill, depth, 1, tokens, width});
  }
  for (const int64_t batch : command.batches) {
    works.push_back({BenchWork::Kind::kDecode, depth, batch, 1, width});
  }
  return works;
}

int64_t CacheNeed::blocks() const { return sequences * CeilDiv(tokens, kBlockTokens); }

CacheNeed NeedOf(std::span<const BenchWork> works) {
  CacheNeed need;
  for (const BenchWork& work : works) {
    need.sequences = std::max(need.sequences, work.batch);
    need.tokens = std::max(need.tokens, work.depth + work.tokens);
  }
  return need;
}

absl::StatusOr<MostNeed> MostNeedOf(const ModelConfig& config, const BenchCommand& command) {
  MostNeed most;
  for (const int64_t depth : command.depths) {
    const CacheNeed need = NeedOf(WorksAt(command, depth, config.full_width()));
    if (need.tokens > config.max_context) {
      return absl::InvalidArgumentError(
          fmt::format("depth {} and the new tokens make {} tokens, beyond the model's {}", depth,
                      need.tokens, config.max_context));
    }
    most.sequences = std::max(most.sequences, need.sequences);
    most.tokens = std::max(most.tokens, need.tokens);
    most.blocks = std::max(most.blocks, need.blocks());
  }
  return most;
}

}  // namespace latentd
