// The decode attention with query rows as wgmma's columns, emulated or on a device.
#include <catch2/catch.hpp>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tests/kernels/cuda/mla_decode_case.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {

std::vector<float> RunSwapped(const Step& step, const DecodePlan& plan) {
  std::vector<float> widest = step.Run(plan, 64);
  for (const int columns : {16, 32}) {
    if (plan.slot_rows > columns) continue;
    RequireSameBits(step.Run(plan, columns), widest, std::to_string(columns) + " columns");
  }
  return widest;
}

namespace {

TEST_CASE("the number of heads alone says whether rows are columns", "[small]") {
  std::mt19937 rng(16);
  for (const int heads : {32, 33}) {
    const Shape shape = {heads, 1, 64, 16, KeyNorm::kNone};
    const Step step(rng, shape, {300, 100}, {1, 2});
    const DecodePlan plan = PlanDecodeWith(step.sequences, heads, 132, kUnitTokens);
    const std::vector<float> rows_first = step.Run(plan, 0), swapped = RunSwapped(step, plan);
    CHECK(rows_first != swapped);
    const std::vector<float>& expected = heads <= 32 ? swapped : rows_first;
    const std::string what = std::to_string(heads) + " heads";
    RequireSameBits(step.Run(plan), expected, what);
    const Step first = step.Only(0, 0, 1);
    const std::vector<float> alone = first.Run(PlanDecode(first.sequences, heads, 132));
    const auto count = static_cast<size_t>(heads * shape.row_latent);
    RequireSameBits(std::span(alone).first(count), std::span(expected).first(count),
                    what + ", alone");
  }
}

TEST_CASE("among any number of columns, by units and by groups, a row has the same bits") {
  std::mt19937 rng(17);
  const Shape shape = {12, 4, 192, 32, KeyNorm::kUnified};
  const Step step(rng, shape, {2700, 1030, 64}, {1, 1, 1});
  const std::vector<float> units =
      RunSwapped(step, PlanDecodeWith(step.sequences, 12, 132, kUnitTokens));
  const std::vector<float> groups =
      RunSwapped(step, PlanDecodeWith(step.sequences, 12, 2, kGroupTokens));
  RequireSameBits(groups, units, "groups");
}

}  // namespace
}  // namespace latentd::cuda
