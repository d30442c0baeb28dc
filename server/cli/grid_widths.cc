#include "server/cli/grid_widths.h"

#include <string>
#include <string_view>

#include "engine/model/config.h"
#include "server/cat.h"

namespace latentd {
namespace {

struct Axis {
  std::string_view flag;
  std::vector<int64_t> listed;
  int64_t full = 0;
  bool continuous = false;
};

std::string List(const std::vector<int64_t>& ranks) {
  std::string list;
  for (const int64_t rank : ranks) list += Cat(list.empty() ? "" : ", ", rank);
  return list;
}

absl::StatusOr<std::vector<uint32_t>> RanksOf(const Axis& axis,
                                              const std::vector<uint32_t>& wanted) {
  if (axis.full == 0) {
    if (wanted.empty()) return std::vector<uint32_t>{0};
    return absl::InvalidArgumentError(
        Cat(axis.flag, " does not apply: the model projects its queries directly"));
  }
  if (wanted.empty()) {
    if (axis.listed.empty()) return std::vector<uint32_t>{static_cast<uint32_t>(axis.full)};
    return std::vector<uint32_t>(axis.listed.begin(), axis.listed.end());
  }
  for (const uint32_t rank : wanted) {
    if (AllowsRank(rank, axis.full, axis.listed, axis.continuous)) continue;
    const std::string allowed = axis.continuous ? Cat("from 1 to ", axis.full) : List(axis.listed);
    return absl::InvalidArgumentError(
        Cat(axis.flag, " takes ranks ", allowed, " with this checkpoint, not ", rank));
  }
  return wanted;
}

}  // namespace

absl::StatusOr<GridRanks> ResolveGrid(const v1::Model& model, const std::vector<uint32_t>& q,
                                      const std::vector<uint32_t>& kv) {
  if (!model.has_elastic()) {
    return absl::InvalidArgumentError(Cat("--grid needs an elastic checkpoint; ", model.id(),
                                          " has the fixed width of q ", model.q_lora_rank(),
                                          " and kv ", model.kv_lora_rank()));
  }
  const v1::Elastic& elastic = model.elastic();
  const auto q_ranks = RanksOf({"--q",
                                {elastic.q_ranks().begin(), elastic.q_ranks().end()},
                                model.q_lora_rank(),
                                elastic.continuous()},
                               q);
  if (!q_ranks.ok()) return q_ranks.status();
  const auto kv_ranks = RanksOf({"--kv",
                                 {elastic.kv_ranks().begin(), elastic.kv_ranks().end()},
                                 model.kv_lora_rank(),
                                 elastic.continuous()},
                                kv);
  if (!kv_ranks.ok()) return kv_ranks.status();
  return GridRanks{*q_ranks, *kv_ranks};
}

std::vector<std::optional<v1::Width>> AllPairs(const GridRanks& ranks) {
  std::vector<std::optional<v1::Width>> widths;
  for (const uint32_t q : ranks.q) {
    for (const uint32_t kv : ranks.kv) {
      v1::Width& width = widths.emplace_back().emplace();
      if (q != 0) width.set_q(q);
      width.set_kv(kv);
    }
  }
  return widths;
}

}  // namespace latentd
