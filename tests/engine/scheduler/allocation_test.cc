// A step of decodes allocates nothing: every container was sized at admission.
#include <catch2/catch.hpp>

#include "tests/engine/scheduler/harness.h"
#include "tests/fakes/heap_count.h"

namespace latentd {

TEST_CASE("planning, completing and appending a step of decodes does not touch the heap") {
  SchedulerOptions options;
  options.max_num_batched_tokens = 2048;
  Harness h(512, options);
  for (SequenceId id = 1; id <= 64; ++id) h.Add(id, 20, 300);
  h.Step();
  const std::vector<bool> cancelled(64, false);
  const int64_t before = HeapAllocations();
  for (int i = 0; i < 250; ++i) {  // crosses block edges, so publishing and growth are in it
    const StepPlan& plan = h.scheduler.Plan(h.clock.Now());
    if (plan.entries.size() != 64) break;
    h.scheduler.Complete(cancelled);
    for (SequenceId id = 1; id <= 64; ++id) h.scheduler.Append(id, static_cast<uint32_t>(id));
  }
  const int64_t after = HeapAllocations();
  CHECK(after == before);
  CHECK(h.scheduler.stats().running == 64);
}

}  // namespace latentd
