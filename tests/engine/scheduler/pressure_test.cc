// Too few blocks: who is preempted, who returns, and that nobody's output changes.
#include <catch2/catch.hpp>

#include "tests/engine/scheduler/harness.h"

namespace latentd {
namespace {

SchedulerOptions NoReuse() {
  SchedulerOptions options;
  options.prefix_reuse = false;
  return options;
}

// Steps until sequence id has no blocks.
void StepUntilPreempted(Harness& h, SequenceId id) {
  h.Step();
  REQUIRE(h.num_blocks(id) > 0);
  for (int i = 0; i < 1000 && h.num_blocks(id) > 0; ++i) h.Step();
  REQUIRE(h.num_blocks(id) == 0);
  REQUIRE(h.scheduler.Contains(id));
}

}  // namespace

TEST_CASE("the newest is preempted, returns when it fits, and its output does not change") {
  Harness h(6, NoReuse());
  h.Add(1, 60, 150);  // at the end four blocks
  h.Add(2, 60, 150);
  h.Add(3, 60, 150);  // 2 + 2 + 2 at first
  StepUntilPreempted(h, 3);
  CHECK(h.num_blocks(1) == 3);
  CHECK(h.num_blocks(2) == 3);
  CHECK(h.scheduler.stats().preemptions == 1);
  CHECK(h.scheduler.stats().waiting == 1);
  h.RunAll();
  for (SequenceId id : {1, 2, 3}) CHECK(h.output(id) == Harness::Solo(Harness::Spec(id, 60, 150)));
  // A row for each position once, though positions were computed twice.
  for (SequenceId id : {1, 2, 3}) CHECK(h.rows[id].size() == 150);
  CHECK(h.pool->num_free() == 6);
}

TEST_CASE("the lowest priority goes before the newest") {
  Harness h(6, NoReuse());
  for (SequenceId id : {1, 2, 3}) {
    SequenceSpec spec = Harness::Spec(id, 60, 150);
    spec.priority = id == 2 ? 1 : 0;
    h.Add(std::move(spec));
  }
  StepUntilPreempted(h, 2);
  CHECK(h.num_blocks(1) > 0);
  CHECK(h.num_blocks(3) > 0);
  h.RunAll();
  CHECK(h.output(2) == Harness::Solo(Harness::Spec(2, 60, 150)));
}

TEST_CASE("the oldest of the best priority is never preempted") {
  Harness h(4, NoReuse());
  h.Add(1, 100, 150);  // all four blocks at the end
  h.Add(2, 1, 100);
  while (h.scheduler.Contains(1)) {
    h.Step();
    CHECK((h.num_blocks(1) > 0 || !h.scheduler.Contains(1)));
  }
  h.RunAll();
  CHECK(h.output(2) == Harness::Solo(Harness::Spec(2, 1, 100)));
}

TEST_CASE("a paused sequence is the first victim, even the oldest") {
  Harness h(6, NoReuse());
  for (SequenceId id : {1, 2, 3}) h.Add(id, 60, 150);
  h.Step();
  h.scheduler.SetPaused(1, true, h.clock.Now());
  for (const Planned& planned : h.Step()) CHECK(planned.id != 1);
  CHECK(h.num_blocks(1) == 2);  // it keeps them until somebody needs one
  StepUntilPreempted(h, 1);
  CHECK(h.num_blocks(2) > 0);
  CHECK(h.num_blocks(3) > 0);
  for (auto planned = h.Step(); !planned.empty(); planned = h.Step()) {
    for (const Planned& entry : planned) CHECK(entry.id != 1);  // room or not, it is paused
  }
  h.scheduler.SetPaused(1, false, h.clock.Now());
  h.RunAll();
  CHECK(h.output(1) == Harness::Solo(Harness::Spec(1, 60, 150)));
}

TEST_CASE("paused sequences make room for a newcomer, running ones do not") {
  Harness h(4, NoReuse());
  h.Add(1, 60, 60);
  h.Add(2, 60, 60);
  h.Step();
  h.Add(3, 60, 60);
  for (const Planned& planned : h.Step()) CHECK(planned.id != 3);
  h.scheduler.SetPaused(2, true, h.clock.Now());
  h.Step();
  CHECK(h.num_blocks(3) == 2);
  CHECK(h.num_blocks(2) == 0);
  CHECK(h.num_blocks(1) > 0);
}

TEST_CASE("a preempted sequence returns only with room for its length plus one block") {
  Harness h(7, NoReuse());
  h.Add(1, 60, 130);
  h.Add(2, 60, 100);
  h.Add(3, 60, 150);
  StepUntilPreempted(h, 3);
  // It knows 129 tokens: three blocks and one, while the others hold six of seven until 2 ends.
  const uint64_t preemptions = h.scheduler.stats().preemptions;
  while (h.num_blocks(3) == 0) h.Step();
  CHECK(h.num_blocks(3) == 4);
  CHECK_FALSE(h.scheduler.Contains(2));
  CHECK(h.scheduler.Contains(1));
  CHECK(h.scheduler.stats().preemptions == preemptions);
}

TEST_CASE("kept prefixes are evicted before anybody is preempted") {
  Harness h(6);
  h.Add(1, 128, 1);
  h.RunAll();
  CHECK(h.scheduler.stats().reusable_blocks == 2);
  h.Add(2, 200, 150);  // six blocks at the end
  h.RunAll();
  CHECK(h.scheduler.stats().preemptions == 0);
  CHECK(h.scheduler.prefix_index().num_evictions() == 2);
  CHECK(h.output(2) == Harness::Solo(Harness::Spec(2, 200, 150)));
}

TEST_CASE("a sequence preempted before its token is appended loses nothing") {
  Harness h(4);
  h.Add(1, 60, 120);  // two blocks, from the 129th token on three
  h.Add(2, 64, 2);    // two blocks
  h.Plan();
  h.scheduler.Complete({false, false});  // 2 is computed, but its token comes late
  for (uint32_t token = 0; h.num_blocks(2) > 0; ++token) {
    REQUIRE(token < 120);
    h.scheduler.Append(1, token);
    for (const Planned& planned : h.Plan()) CHECK(planned.id == 1);
    h.scheduler.Complete({false});
  }
  h.scheduler.Finish(1);
  CHECK(h.Plan() == std::vector<Planned>{{2, 0, 64}});
  CHECK(h.plan().entries[0].first_logits_position == 64);  // no row: it was delivered
  h.scheduler.Complete({false});
  h.scheduler.Append(2, 7);
  CHECK(h.Plan() == std::vector<Planned>{{2, 64, 1}});
}

TEST_CASE("a refused allocation is an ordinary result") {
  bool refuse = false;
  auto pool = *BlockPool::Create(BlockLayout::Make(1, 64, 0, 0), 8,
                                 {.poison = true, .may_allocate = [&refuse] { return !refuse; }});
  Scheduler scheduler(NoReuse(), pool.get());
  SequenceSpec spec = Harness::Spec(1, 64, 100);
  refuse = true;
  REQUIRE(scheduler.Add(spec).ok());
  CHECK(scheduler.Plan({}).empty());  // not admitted
  CHECK(pool->num_free() == 8);
  refuse = false;
  CHECK(scheduler.Plan({}).entries.size() == 1);
  scheduler.Complete({false});
  scheduler.Append(1, 0);
  for (int i = 0; i < 64; ++i) {  // fills the second block
    CHECK(scheduler.Plan({}).entries.size() == 1);
    scheduler.Complete({false});
    scheduler.Append(1, 0);
  }
  refuse = true;
  CHECK(scheduler.Plan({}).empty());  // runs alone: it waits, and keeps what it has
  CHECK(scheduler.BlockTable(1).size() == 2);
  refuse = false;
  CHECK(scheduler.Plan({}).entries.size() == 1);
  CHECK(scheduler.BlockTable(1).size() == 3);
}

}  // namespace latentd
