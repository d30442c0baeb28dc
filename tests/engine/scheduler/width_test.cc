// Several widths in one pool: room by class, pages that change hands, and the policy's ladder.
#include <catch2/catch.hpp>
#include <set>

#include "tests/engine/scheduler/harness.h"

namespace latentd {
namespace {

constexpr int64_t kWide = 192, kNarrow = 64;  // a page has 4 or 12 blocks

PageShape Shape() {
  return {{BlockLayout::Make(1, kWide, 0, 0), BlockLayout::Make(1, kNarrow, 0, 0)}, 4};
}

SchedulerOptions Roomy() {
  SchedulerOptions options;
  options.max_num_batched_tokens = 2048;
  options.prefix_reuse = false;
  return options;
}

SequenceSpec Wide(SequenceId id, int64_t prompt_tokens, int64_t max_new_tokens,
                  int64_t width = kWide) {
  SequenceSpec spec = Harness::Spec(id, prompt_tokens, max_new_tokens);
  spec.width_q = 7;
  spec.width_kv = width;
  return spec;
}
SequenceSpec Narrow(SequenceId id, int64_t prompt_tokens, int64_t max_new_tokens) {
  return Wide(id, prompt_tokens, max_new_tokens, kNarrow);
}

}  // namespace

TEST_CASE("three times as many narrow sequences run in the same room") {
  for (const auto& [width, fit] : {std::pair(kWide, 8), std::pair(kNarrow, 24)}) {
    Harness h(Shape(), 2, Roomy());
    for (SequenceId id = 1; id <= 30; ++id) h.Add(Wide(id, 40, 10, width));
    CHECK(static_cast<int64_t>(h.Step().size()) == fit);
    h.RunAll();
    for (SequenceId id = 1; id <= 30; ++id) {
      CHECK(h.output(id) == Harness::Solo(Wide(id, 40, 10, width)));
    }
    CHECK(h.scheduler.stats().preemptions == 0);
    CHECK(h.pool->num_free_pages() == 2);
  }
}

TEST_CASE("a class that has no page waits for a whole one") {
  Harness h(Shape(), 1, Roomy());
  h.Add(Narrow(1, 40, 10));
  h.Add(Narrow(2, 40, 20));
  h.Step();
  h.Add(Wide(3, 40, 10));
  while (h.scheduler.Contains(2)) {
    CHECK(h.num_blocks(3) == 0);  // ten narrow blocks are free, but no page
    h.Step();
  }
  h.RunAll();
  CHECK(h.output(3) == Harness::Solo(Wide(3, 40, 10)));
  CHECK(h.scheduler.stats().preemptions == 0);
}

TEST_CASE("growth preempts until a page is free, the worst rank first") {
  Harness h(Shape(), 2, Roomy());
  h.Add(Wide(1, 4 * 64 - 10, 100));  // four blocks and, as it grows, a fifth and a sixth
  for (SequenceId id : {2, 3, 4}) h.Add(Narrow(id, 30, 30));
  h.Step();
  REQUIRE(h.num_blocks(1) == 5);  // with the block in reserve it has both pages
  h.RunAll();
  CHECK(h.output(1) == Harness::Solo(Wide(1, 4 * 64 - 10, 100)));
  for (SequenceId id : {2, 3, 4}) CHECK(h.output(id) == Harness::Solo(Narrow(id, 30, 30)));

  Harness busy(Shape(), 2, Roomy());
  busy.Add(Wide(1, 3 * 64 - 10, 200));  // four blocks: one page
  for (SequenceId id : {2, 3, 4}) busy.Add(Narrow(id, 30, 150));
  busy.Step();
  REQUIRE(busy.num_blocks(1) == 4);
  REQUIRE(busy.num_blocks(2) > 0);
  while (busy.num_blocks(1) == 4) busy.Step();
  CHECK(busy.num_blocks(1) == 5);
  for (SequenceId id : {2, 3, 4})
    CHECK(busy.num_blocks(id) == 0);  // one block of each held the page
  CHECK(busy.scheduler.stats().preemptions == 3);
  busy.RunAll();
  CHECK(busy.output(1) == Harness::Solo(Wide(1, 3 * 64 - 10, 200)));
  for (SequenceId id : {2, 3, 4}) CHECK(busy.output(id) == Harness::Solo(Narrow(id, 30, 150)));
}

TEST_CASE("paused sequences give way only if a whole page comes of it") {
  Harness h(Shape(), 1, Roomy());
  h.Add(Narrow(1, 30, 20));
  h.Add(Narrow(2, 30, 20));
  h.Step();
  h.scheduler.SetPaused(2, true, h.clock.Now());
  h.Add(Wide(3, 30, 20));
  h.Step();
  CHECK(h.num_blocks(2) == 1);  // the running one has the page too
  h.scheduler.SetPaused(1, true, h.clock.Now());
  h.Step();
  CHECK(h.num_blocks(1) == 0);
  CHECK(h.num_blocks(2) == 0);
  CHECK(h.num_blocks(3) == 1);
}

TEST_CASE("a prefix is reused at its own width, and makes room for another's page") {
  SchedulerOptions options = Roomy();
  options.prefix_reuse = true;
  Harness h(Shape(), 2, options);
  SequenceSpec first = Narrow(1, 100, 5), same = first, other = first;
  same.id = 2;
  other.id = 3;
  other.width_kv = kNarrow - 1;  // same class, another width
  h.Add(first);
  h.RunAll();
  h.Add(same);
  h.RunAll();
  CHECK(h.scheduler.stats().prefix_hits == 64);
  h.Add(other);
  h.RunAll();
  CHECK(h.scheduler.stats().prefix_hits == 64);
  CHECK(h.output(3) == Harness::Solo(other));
  h.Add(Wide(4, 7 * 64, 20));  // all there is
  h.RunAll();
  CHECK(h.output(4) == Harness::Solo(Wide(4, 7 * 64, 20)));
  CHECK(h.scheduler.prefix_index().num_evictions() == 2);
}

TEST_CASE("the policy steps newly admitted sequences down as the pool fills") {
  SchedulerOptions options = Roomy();
  options.width_ladder = {{40, 4}, {30, 3}, {20, 2}, {10, 1}};
  Harness h(20, options);
  for (SequenceId id = 1; id <= 20; ++id) {
    SequenceSpec spec = Harness::Spec(id, 60, 4);  // a block each: 5 % of the pool
    spec.width_q = 40;
    spec.width_kv = 4;
    spec.width_by_policy = id != 19;  // which names its width, and keeps it
    h.Add(spec);
  }
  h.Plan();
  REQUIRE(h.plan().entries.size() == 20);
  for (size_t i = 0; i < 20; ++i) {
    CAPTURE(i);
    const size_t step = i == 18 ? 0 : i < 16 ? 0 : i < 18 ? 1 : i < 19 ? 2 : 3;
    CHECK(h.plan().entries[i].width_q == options.width_ladder[step].first);
    CHECK(h.plan().entries[i].width_kv == options.width_ladder[step].second);
  }
  h.Run();
  CHECK(h.scheduler.PolicyWidth() == Ranks(10, 1));
  h.RunAll();
  CHECK(h.scheduler.PolicyWidth() == Ranks(40, 4));
}

TEST_CASE("the share in use leaves reusable prefixes out and weighs narrow blocks as they are") {
  SchedulerOptions options = Roomy();
  options.prefix_reuse = true;
  options.width_ladder = {{9, kWide}, {8, kNarrow}};
  Harness h(Shape(), 2, options);
  for (SequenceId id : {1, 2}) {
    h.Add(Wide(id, 4 * 64, 1));
    h.RunAll();
  }
  REQUIRE(h.scheduler.stats().reusable_blocks == 8);  // all of it kept, none used
  CHECK(h.scheduler.PolicyWidth() == Ranks(9, kWide));
  for (SequenceId id = 11; id <= 28; ++id) h.Add(Narrow(id, 40, 10));  // 18 of 24 blocks: 75 %
  h.Step();
  CHECK(h.scheduler.PolicyWidth() == Ranks(9, kWide));
  for (SequenceId id = 29; id <= 30; ++id) h.Add(Narrow(id, 40, 10));
  h.Step();
  CHECK(h.scheduler.PolicyWidth() == Ranks(8, kNarrow));
}

TEST_CASE("a width that the policy chose stays, also after a preemption") {
  SchedulerOptions options = Roomy();
  options.width_ladder = {{40, 4}, {30, 3}};
  Harness h(5, options);
  for (SequenceId id = 1; id <= 5; ++id) {
    SequenceSpec spec = Harness::Spec(id, 30, id < 5 ? 30 : 25);
    spec.width_q = 40;
    spec.width_kv = 4;
    spec.width_by_policy = true;
    h.Add(spec);
  }
  h.Plan();
  REQUIRE(h.plan().entries[4].width_kv == 3);
  h.Run();
  h.scheduler.SetPaused(5, true, h.clock.Now());
  SequenceSpec last = Harness::Spec(6, 30, 2);
  h.Add(last);  // takes the paused one's block
  h.RunAll();
  REQUIRE(h.scheduler.stats().preemptions == 1);
  h.scheduler.SetPaused(5, false, h.clock.Now());
  h.Plan();
  REQUIRE(h.plan().entries.size() == 1);
  CHECK(h.plan().entries[0].width_kv == 3);  // though the pool is empty
  h.Run();
  h.RunAll();
  SequenceSpec chosen = Harness::Spec(5, 30, 25);
  chosen.width_q = 30;
  chosen.width_kv = 3;
  CHECK(h.output(5) == Harness::Solo(chosen));
}

}  // namespace latentd
