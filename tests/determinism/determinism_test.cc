// strict: a token's bits do not depend on batch, chunk, threads, pressure, reuse, step size or
// kernel path of its neighbours. All pairs of a reduced set of values, and a random slice of all of
// them.
#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/determinism/workload.h"

namespace latentd {
namespace {

// A setting must bring about what it says, where nothing else keeps requests apart.
void CheckHappened(const Setting& setting, const RunFacts& facts) {
  if (setting.at(AxisId::kBudget) != kWholePrompt) return;
  const int64_t batch = setting.at(AxisId::kBatch), pressure = setting.at(AxisId::kPressure);
  const bool reuse = setting.at(AxisId::kReuse) == 1;
  if (pressure == kRoomy && !reuse) {
    CHECK(facts.most_entries == batch);
    CHECK(facts.longest_chunk ==
          std::min(setting.at(AxisId::kChunk), setting.at(AxisId::kContext)));
  }
  if (batch >= 7 && pressure == kPreempting && !reuse) CHECK(facts.preemptions > 0);
  if (batch >= 7 && pressure == kRoomy && reuse && setting.at(AxisId::kWidths) == 0)
    CHECK(facts.prefix_hits > 0);
}

}  // namespace

TEST_CASE("all pairs of the reduced set give the same bits") {
  Matrix matrix(MatrixModel());
  for (const Setting& setting : AllPairs()) {
    INFO(Describe(setting));
    const auto difference = matrix.Check(setting);
    CHECK(difference.value_or("") == "");
    CheckHappened(setting, matrix.facts());
  }
}

}  // namespace latentd
