// LATENTD_SEED=N runs the one episode of that seed and prints every decision; LATENTD_OPERATIONS=N
// changes how many operations are done in all.
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/engine/scheduler/simulation.h"

namespace latentd {
namespace {

constexpr int64_t kEpisodeOperations = 5000;
OperationCounts total;
int64_t num_episodes = 0;

// After Catch's own summary, so that the count is the last line.
void PrintTotal() {
  std::printf(
      "episodes %lld: events %lld, plans %lld, tokens %lld (generated %lld); preemptions "
      "%lld, hit tokens %lld, evictions %lld, expired %lld, stalled %lld, cancelled "
      "mid-step %lld, refused %lld\noperations %lld\n",
      static_cast<long long>(num_episodes), static_cast<long long>(total.events),
      static_cast<long long>(total.plans), static_cast<long long>(total.tokens),
      static_cast<long long>(total.generated), static_cast<long long>(total.preemptions),
      static_cast<long long>(total.hit_tokens), static_cast<long long>(total.evictions),
      static_cast<long long>(total.expired), static_cast<long long>(total.stalled),
      static_cast<long long>(total.cancelled_mid_step), static_cast<long long>(total.refused),
      static_cast<long long>(total.total()));
}

void RunEpisode(uint64_t seed, bool trace) {
  INFO(
      "replay with LATENTD_SEED=" << seed);  // shown too when a check of the code under test aborts
  Simulation simulation(seed);
  simulation.set_trace(trace);
  try {
    simulation.Run(kEpisodeOperations);
  } catch (const Violation& violation) {
    FAIL("violated after " << simulation.counts().total() << " operations: " << violation.what);
  }
  ++num_episodes;
  total.Add(simulation.counts());
}

}  // namespace

TEST_CASE("random operations: the cached, batched, preempted answer is the solo answer") {
  std::atexit(PrintTotal);
  if (const char* seed = std::getenv("LATENTD_SEED")) {
    RunEpisode(std::strtoull(seed, nullptr, 10), true);
    return;
  }
  const char* wanted = std::getenv("LATENTD_OPERATIONS");
  const int64_t operations = wanted != nullptr ? std::atoll(wanted) : LATENTD_DEFAULT_OPERATIONS;
  uint64_t seed = LATENTD_FIRST_SEED;
  std::printf("seeds from %llu on\n", static_cast<unsigned long long>(seed));
  while (total.total() < operations) RunEpisode(seed++, false);
  // The rarer paths were taken, so what was checked is what the title says.
  CHECK(total.preemptions > 0);
  CHECK(total.hit_tokens > 0);
  CHECK(total.evictions > 0);
  CHECK(total.expired > 0);
  CHECK(total.stalled > 0);
  CHECK(total.cancelled_mid_step > 0);
  CHECK(total.refused > 0);
}

}  // namespace latentd
