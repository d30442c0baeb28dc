// A step of decodes allocates nothing: every container was sized at admission.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <new>

#include "tests/engine/scheduler/harness.h"

namespace {
int64_t num_allocations = 0;
}

void* operator new(size_t bytes) {
  ++num_allocations;
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
// A sanitizer brings its own of this form, whose memory must not reach our delete.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  ++num_allocations;
  return std::malloc(bytes);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace latentd {

TEST_CASE("planning, completing and appending a step of decodes does not touch the heap") {
  SchedulerOptions options;
  options.max_num_batched_tokens = 2048;
  Harness h(512, options);
  for (SequenceId id = 1; id <= 64; ++id) h.Add(id, 20, 300);
  h.Step();
  const std::vector<bool> cancelled(64, false);
  const int64_t before = num_allocations;
  for (int i = 0; i < 250; ++i) {  // crosses block edges, so publishing and growth are in it
    const StepPlan& plan = h.scheduler.Plan(h.clock.Now());
    if (plan.entries.size() != 64) break;
    h.scheduler.Complete(cancelled);
    for (SequenceId id = 1; id <= 64; ++id) h.scheduler.Append(id, static_cast<uint32_t>(id));
  }
  const int64_t after = num_allocations;
  CHECK(after == before);
  CHECK(h.scheduler.stats().running == 64);
}

}  // namespace latentd
