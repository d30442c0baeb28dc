// Cancelled, expired, stalled and finished sequences, also while a step is in flight.
#include <catch2/catch.hpp>

#include "tests/engine/scheduler/harness.h"

namespace latentd {
namespace {

using std::chrono::microseconds;

SequenceSpec WithFlag(SequenceSpec spec, const std::atomic<bool>& flag) {
  spec.cancelled = &flag;
  return spec;
}

SequenceSpec WithDeadline(SequenceSpec spec, TimePoint deadline) {
  spec.deadline = deadline;
  return spec;
}

}  // namespace

TEST_CASE("a cancelled sequence is not planned again and its blocks are free at once") {
  std::atomic<bool> running{false}, waiting{false};
  SchedulerOptions options;
  options.max_num_seqs = 1;
  Harness h(8, options);
  h.Add(WithFlag(Harness::Spec(1, 70, 20), running));
  h.Add(WithFlag(Harness::Spec(2, 70, 20), waiting));
  h.Add(3, 1, 1);
  h.Step();
  running = true;
  waiting = true;
  CHECK(h.Step() == std::vector<Planned>{{3, 0, 1}});
  CHECK(h.num_blocks(1) == 0);
  CHECK(h.scheduler.Contains(1));  // until it is finished
  CHECK(h.scheduler.stats().waiting == 0);
  CHECK(h.Step().empty());
  h.scheduler.Finish(1);
  h.scheduler.Finish(2);
  CHECK_FALSE(h.scheduler.Contains(1));
}

TEST_CASE("what a cancelled step wrote is never reused") {
  std::atomic<bool> flag{false};
  Harness h(8);
  h.Add(WithFlag(Harness::Spec(1, 200, 5), flag));
  h.mid_entry = [&flag](size_t) { flag = true; };
  h.Step();
  h.mid_entry = nullptr;
  CHECK(h.scheduler.prefix_index().num_known() == 0);
  CHECK(h.pool->num_free() == 8);
  h.scheduler.Finish(1);
  SequenceSpec same = Harness::Spec(1, 200, 5);
  same.id = 2;
  h.Add(same);
  h.RunAll();
  CHECK(h.output(2) == Harness::Solo(same));
  CHECK(h.scheduler.stats().prefix_hits == 0);
}

TEST_CASE("blocks of a sequence finished in flight rejoin the pool when the step completes") {
  SchedulerOptions options;
  options.prefix_reuse = false;
  options.max_num_seqs = 1;
  Harness h(8, options);
  h.Add(1, 70, 100);
  h.Add(2, 70, 100);
  h.Plan();
  const auto planned_tokens = h.plan().entries[0].token_ids;
  h.scheduler.Finish(1);
  h.scheduler.Finish(2);
  CHECK_FALSE(h.scheduler.Contains(1));
  CHECK(h.pool->num_free() == 8 - 3);
  CHECK(std::vector<uint32_t>(planned_tokens.begin(), planned_tokens.end()) ==
        Harness::Spec(1, 70, 100).prompt);
  CHECK(h.plan().entries[0].block_table.size() == 3);
  h.scheduler.Complete({false});
  CHECK(h.pool->num_free() == 8);
  CHECK(h.Step().empty());
}

TEST_CASE("what a sequence finished in flight computed is kept, unless it was cancelled") {
  for (bool cancelled : {false, true}) {
    Harness h(8);
    h.Add(1, 70, 20);
    h.Plan();
    h.scheduler.Finish(1);
    h.scheduler.Complete({cancelled});
    CHECK(h.scheduler.stats().reusable_blocks == (cancelled ? 0 : 1));
  }
}

TEST_CASE("expired sequences are reported once, wherever they are, and their blocks are free") {
  SchedulerOptions options;
  options.max_num_seqs = 2;
  options.prefix_reuse = false;
  Harness h(8, options);
  const TimePoint deadline = h.clock.Now() + microseconds(100);
  for (SequenceId id : {1, 2, 3}) h.Add(WithDeadline(Harness::Spec(id, 5, 20), deadline));
  h.Add(WithDeadline(Harness::Spec(4, 5, 1), deadline + microseconds(1)));
  h.Step();
  h.scheduler.SetPaused(2, true, h.clock.Now());
  CHECK(h.scheduler.NextWakeup() == deadline);
  h.Advance(99);
  CHECK(h.Step().size() == 2);
  CHECK(h.plan().expired.empty());
  h.Advance(1);
  const auto planned = h.Step();
  CHECK(h.plan().expired == std::vector<SequenceId>{1, 2, 3});
  CHECK(planned == std::vector<Planned>{{4, 0, 5}});
  for (SequenceId id : {1, 2, 3}) CHECK_FALSE(h.scheduler.Contains(id));
  CHECK(h.pool->num_free() == 8);
  CHECK_FALSE(h.scheduler.NextWakeup().has_value());
  h.Step();
  CHECK(h.plan().expired.empty());
}

TEST_CASE("an expired cancelled sequence is not reported: it has ended already") {
  std::atomic<bool> flag{true};
  Harness h(8);
  h.Add(WithFlag(WithDeadline(Harness::Spec(1, 5, 5), h.clock.Now() + microseconds(9)), flag));
  h.Step();
  CHECK_FALSE(h.scheduler.NextWakeup().has_value());
  h.Advance(10);
  h.Step();
  CHECK(h.plan().expired.empty());
}

TEST_CASE("a reader that does not drain is cut after the stall timeout") {
  SchedulerOptions options;
  options.stall_timeout_us = 50;
  Harness h(8, options);
  h.Add(1, 5, 20);
  h.Step();
  h.scheduler.SetPaused(1, true, h.clock.Now());
  h.Advance(30);
  h.scheduler.SetPaused(1, true, h.clock.Now());  // the first time counts
  CHECK(h.scheduler.NextWakeup() == h.clock.Now() + microseconds(20));
  CHECK(h.Step().empty());
  h.scheduler.SetPaused(1, false, h.clock.Now());
  CHECK_FALSE(h.scheduler.NextWakeup().has_value());
  h.Advance(100);
  CHECK(h.Step() == std::vector<Planned>{{1, 5, 1}});
  h.scheduler.SetPaused(1, true, h.clock.Now());
  CHECK(h.scheduler.stats().paused == 1);
  h.Advance(50);
  CHECK(h.Step().empty());
  CHECK(h.plan().stalled == std::vector<SequenceId>{1});
  CHECK_FALSE(h.scheduler.Contains(1));
  CHECK(h.pool->num_free() == 8);
}

TEST_CASE("a paused sequence is not planned, wherever it was, and goes on where it stopped") {
  SchedulerOptions options;
  options.max_num_seqs = 1;
  Harness h(8, options);
  h.Add(1, 5, 9);
  h.Add(2, 5, 9);
  h.Step();
  h.scheduler.SetPaused(2, true, h.clock.Now());  // waiting
  h.Plan();
  h.scheduler.SetPaused(1, true, h.clock.Now());  // in flight
  h.Run();
  CHECK(h.Step().empty());
  CHECK(h.scheduler.stats().paused == 2);
  h.scheduler.SetPaused(1, false, h.clock.Now());
  h.scheduler.SetPaused(2, false, h.clock.Now());
  h.RunAll();
  for (SequenceId id : {1, 2}) CHECK(h.output(id) == Harness::Solo(Harness::Spec(id, 5, 9)));
}

TEST_CASE("calls about unknown sequences are ignored") {
  Harness h(2);
  h.scheduler.Finish(7);
  h.scheduler.SetPaused(7, true, h.clock.Now());
  CHECK_FALSE(h.scheduler.Contains(7));
  CHECK(h.scheduler.BlockTable(7).empty());
  CHECK(h.Step().empty());
}

TEST_CASE("a destroyed scheduler leaves the pool as it found it") {
  auto pool = *BlockPool::Create(BlockLayout::Make(1, 64, 0, 0), 8);
  {
    Scheduler scheduler({}, pool.get());
    REQUIRE(scheduler.Add(Harness::Spec(1, 130, 9)).ok());
    REQUIRE(scheduler.Add(Harness::Spec(2, 130, 9)).ok());
    scheduler.Plan({});
    scheduler.Finish(2);
    CHECK(pool->num_free() == 2);
  }
  CHECK(pool->num_free() == 8);
}

}  // namespace latentd
