// Budgets, order within a step, admission and who is refused.
#include <catch2/catch.hpp>
#include <limits>

#include "tests/engine/scheduler/harness.h"

namespace latentd {
namespace {

using Plans = std::vector<Planned>;
using Catch::Contains;

SchedulerOptions Small() {
  SchedulerOptions options;
  options.max_num_seqs = 4;
  options.max_num_batched_tokens = 68;
  return options;
}

}  // namespace

TEST_CASE("decodes come first, then prefill chunks fill the tokens that are left") {
  Harness h(16, Small());
  h.Add(1, 10, 5);
  CHECK(h.Step() == Plans{{1, 0, 10}});
  h.Add(2, 100, 5);
  h.Add(3, 3, 5);
  CHECK(h.Step() == Plans{{1, 10, 1}, {2, 0, 67}});
  CHECK(h.Step() == Plans{{1, 11, 1}, {2, 67, 33}, {3, 0, 3}});
  CHECK(h.Step() == Plans{{1, 12, 1}, {2, 100, 1}, {3, 3, 1}});
}

TEST_CASE("a deep chunk is shorter: time bounds a step") {
  SchedulerOptions options = Small();
  options.cost = {.token_us = 1, .position_us = 1};
  options.step_us = 100;
  Harness h(16, options);
  h.Add(1, 300, 1);
  // 13 tokens at 0 cost 13 + (0 + … + 12) = 91; at 13 six cost 6 + (13 + … + 18) = 99.
  CHECK(h.Step() == Plans{{1, 0, 13}});
  CHECK(h.Step() == Plans{{1, 13, 6}});
  while (h.scheduler.Contains(1)) CHECK(h.Step()[0].num_tokens >= 1);  // beyond 99, one at a time
}

TEST_CASE("steps that take longer than estimated shorten chunks, unless part was cancelled") {
  SchedulerOptions options = Small();
  options.cost = {.token_us = 10, .position_us = 0, .base_us = 20};
  options.step_us = 400;
  Harness h(64, options);
  h.Add(1, 3000, 1);
  h.scheduler.set_explain(true);
  int64_t tokens = 0;
  const auto step = [&](double slower, bool cancelled) {
    tokens = h.Plan().at(0).num_tokens;
    h.scheduler.Complete({cancelled}, slower * static_cast<double>(20 + 10 * tokens));
  };
  for (int i = 0; i < 20; ++i) step(3, false);
  CHECK(tokens == 13);
  CHECK(h.scheduler.stats().cost_factor == Approx(3));
  CHECK(h.scheduler.stats().cost.token_us == Approx(30));
  CHECK(h.scheduler.stats().cost.base_us == Approx(60));
  h.Plan();
  CHECK_THAT(h.scheduler.explanation().at(0), Contains("13 tokens at"));
  CHECK_THAT(h.scheduler.explanation().at(0), Contains("at 3 times the measured cost"));
  h.scheduler.Complete({true}, 1);
  for (SequenceId id = 2; id < 12; ++id) {
    h.Add(id, 100, 1);
    step(0.1, true);
  }
  CHECK(h.scheduler.stats().cost_factor == Approx(3));
}

TEST_CASE("one prefill token always fits beside the decodes") {
  SchedulerOptions options = Small();
  options.cost = {.token_us = 100, .position_us = 0};
  options.step_us = 200;
  Harness h(16, options);
  for (SequenceId id : {1, 2, 3}) h.Add(id, 1, 50);
  for (int i = 0; i < 3; ++i) h.Step();
  h.Add(4, 5, 1);
  const Plans plan = h.Step();
  REQUIRE(plan.size() == 3);
  CHECK(plan[2] == Planned{4, 0, 1});
}

TEST_CASE("decodes that do not fit the time take turns") {
  SchedulerOptions options = Small();
  options.cost = {.token_us = 100, .position_us = 0};
  options.step_us = 200;
  Harness h(16, options);
  for (SequenceId id : {1, 2, 3, 4}) h.Add(id, 1, 40);
  for (int i = 0; i < 4; ++i) h.Step();
  std::map<SequenceId, int> turns;
  for (int i = 0; i < 20; ++i) {
    const Plans plan = h.Step();
    CHECK(plan.size() == 2);
    for (const Planned& planned : plan) ++turns[planned.id];
  }
  for (SequenceId id : {1, 2, 3, 4}) CHECK(turns[id] == 10);
}

TEST_CASE("newcomers do not starve a decode that waits for its turn") {
  SchedulerOptions options = Small();
  options.max_num_seqs = 2;
  options.cost = {.token_us = 100, .position_us = 0};
  options.step_us = 100;  // one decode a step
  Harness h(16, options);
  h.Add(1, 1, 60);
  h.Add(2, 1, 2);
  int since = 0;
  for (SequenceId next = 3; h.scheduler.Contains(1); ++next) {
    h.Add(next, 1, 2);  // each decodes once and is replaced
    const Plans plan = h.Step();
    since = !plan.empty() && plan[0].id == 1 ? 0 : since + 1;
    CHECK(since <= 2);
    REQUIRE(next < 1000);
  }
}

TEST_CASE("sequences back from a pause may outnumber the slots; prefills and decodes take turns") {
  SchedulerOptions options = Small();
  options.max_num_seqs = 1;
  options.max_num_batched_tokens = 2;
  Harness h(16, options);
  h.Add(1, 1, 30);
  h.Step();
  h.scheduler.SetPaused(1, true, h.clock.Now());
  h.Add(2, 40, 2);
  h.Step();
  h.scheduler.SetPaused(1, false, h.clock.Now());
  CHECK(h.scheduler.stats().running == 2);
  CHECK(h.Step()[0].id == 1);
  CHECK(h.Step()[0].id == 2);
  CHECK(h.Step()[0].id == 1);
  h.RunAll();
  CHECK(h.output(1) == Harness::Solo(Harness::Spec(1, 1, 30)));
  CHECK(h.output(2) == Harness::Solo(Harness::Spec(2, 40, 2)));
}

TEST_CASE("admission reserves the prompt plus one block, but never what cannot be used") {
  Harness h(16);
  h.Add(1, 64, 200);  // 1 + 1
  h.Add(2, 65, 200);  // 2 + 1
  h.Add(3, 60, 5);    // positions 0 … 63: one
  h.Add(4, 60, 6);    // positions 0 … 64: two
  h.Add(5, 64, 0);    // one
  h.Plan();
  CHECK(h.num_blocks(1) == 2);
  CHECK(h.num_blocks(2) == 3);
  CHECK(h.num_blocks(3) == 1);
  CHECK(h.num_blocks(4) == 2);
  CHECK(h.num_blocks(5) == 1);
}

TEST_CASE("who does not fit waits, and nobody overtakes") {
  Harness h(6);
  h.Add(1, 200, 40);  // 4 blocks in all
  h.Add(2, 200, 40);
  h.Add(3, 1, 1);  // would fit
  CHECK(h.Plan() == Plans{{1, 0, 200}});
  h.Run();
  CHECK(h.scheduler.stats().waiting == 2);
  h.RunAll();
  CHECK(h.pool->num_allocated() == h.scheduler.stats().reusable_blocks);
}

TEST_CASE("no more sequences run than there are slots") {
  Harness h(16, Small());
  for (SequenceId id = 1; id <= 6; ++id) h.Add(id, 1, 3);
  CHECK(h.Step().size() == 4);
  CHECK(h.scheduler.stats().running == 4);
  CHECK(h.scheduler.stats().waiting == 2);
}

TEST_CASE("priorities come first, arrival within them, and age outweighs a level") {
  SchedulerOptions options = Small();
  options.max_num_seqs = 1;
  options.priority_aging_us = 1000;
  Harness h(16, options);
  const auto add = [&h](SequenceId id, int32_t priority) {
    SequenceSpec spec = Harness::Spec(id, 1, 1);
    spec.priority = priority;
    h.Add(std::move(spec));
  };
  add(1, 1);
  h.Advance(500);
  add(2, 0);
  add(3, 0);
  h.Advance(499);
  add(4, 0);  // 999 after the first: its level still counts more
  h.Advance(2);
  add(5, 0);  // 1001 after: the first has aged past it
  add(6, -1);
  std::vector<SequenceId> order;
  for (int i = 0; i < 6; ++i) order.push_back(h.Step()[0].id);
  CHECK(order == std::vector<SequenceId>{6, 2, 3, 4, 1, 5});
}

TEST_CASE("extreme priorities do not overflow") {
  SchedulerOptions options = Small();
  options.max_num_seqs = 1;
  options.priority_aging_us = std::numeric_limits<int64_t>::max();
  Harness h(16, options);
  constexpr int32_t kPriorities[] = {std::numeric_limits<int32_t>::min(), 0,
                                     std::numeric_limits<int32_t>::max()};
  for (const SequenceId id : {2U, 1U, 0U}) {
    SequenceSpec spec = Harness::Spec(id, 1, 1);
    spec.priority = kPriorities[id];
    h.Add(std::move(spec));
  }
  CHECK(h.Step()[0].id == 0);
  CHECK(h.Step()[0].id == 1);
}

TEST_CASE("what can never fit is refused with the numbers") {
  SchedulerOptions options;
  options.max_context = 8192;
  Harness h(256, options);
  const auto message = [&h](int64_t prompt_tokens, int64_t max_new_tokens) {
    const absl::Status status = h.TryAdd(Harness::Spec(1, prompt_tokens, max_new_tokens));
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  CHECK(message(9000, 100) ==
        "prompt of 9000 tokens plus max_tokens 100 exceeds the context of 8192 tokens");
  CHECK(message(8000, 193) ==
        "prompt of 8000 tokens plus max_tokens 193 exceeds the context of 8192 tokens");
  CHECK(message(8193, 0) == "prompt of 8193 tokens exceeds the context of 8192 tokens");
  CHECK(
      message(1, std::numeric_limits<int64_t>::max()) ==
      "prompt of 1 tokens plus max_tokens 9223372036854775807 exceeds the context of 8192 tokens");
  CHECK(h.TryAdd(Harness::Spec(1, 8000, 192)).ok());

  Harness tiny(2, options);
  const absl::Status status = tiny.TryAdd(Harness::Spec(1, 100, 29));
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message() ==
        "prompt of 100 tokens plus max_tokens 29 exceeds the context of 128 "
        "tokens that the cache holds");
  tiny.Add(2, 100, 28);
  tiny.RunAll();
  CHECK(tiny.output(2) == Harness::Solo(Harness::Spec(2, 100, 28)));
}

TEST_CASE("the waiting queue is bounded; started sequences are not in it") {
  SchedulerOptions options = Small();
  options.max_waiting = 2;
  Harness h(16, options);
  h.Add(1, 1, 9);
  h.Add(2, 1, 9);
  CHECK(h.TryAdd(Harness::Spec(3, 1, 9)).code() == absl::StatusCode::kResourceExhausted);
  CHECK_FALSE(h.scheduler.Contains(3));
  h.Step();
  h.Add(3, 1, 9);
  h.Add(4, 1, 9);
  h.scheduler.SetPaused(4, true, h.clock.Now());  // still has not run
  CHECK(h.TryAdd(Harness::Spec(5, 1, 9)).code() == absl::StatusCode::kResourceExhausted);
  h.scheduler.Finish(4);
  CHECK(h.TryAdd(Harness::Spec(5, 1, 9)).ok());
}

TEST_CASE("prompt rows are delivered where they are wanted, once, in order") {
  SchedulerOptions options = Small();
  options.max_num_batched_tokens = 7;
  Harness h(16, options);
  SequenceSpec spec = Harness::Spec(1, 20, 2);
  spec.first_logits_position = 5;
  h.Add(std::move(spec));
  SequenceSpec scored = Harness::Spec(2, 3, 0);
  scored.first_logits_position = 0;
  h.Add(std::move(scored));
  h.RunAll();
  std::vector<int64_t> wanted;
  for (int64_t position = 5; position < 21; ++position) wanted.push_back(position);
  CHECK(h.rows[1] == wanted);
  CHECK(h.rows[2] == std::vector<int64_t>{0, 1, 2});
}

TEST_CASE("an empty plan when nothing can run") {
  Harness h(4);
  CHECK(h.Step().empty());
  CHECK(h.plan().step == 1);
  CHECK(h.Step().empty());
  CHECK(h.plan().step == 2);
}

TEST_CASE("decisions are explained only when asked for") {
  Harness h(4);
  h.Add(1, 70, 2);
  h.Step();
  CHECK(h.scheduler.explanation().empty());
  h.scheduler.set_explain(true);
  h.Add(2, 190, 2);
  h.Step();
  REQUIRE(h.scheduler.explanation().size() == 2);
  CHECK_THAT(h.scheduler.explanation()[0],
             Contains("sequence 1: 1 tokens at 70 of 71, at 1 times the measured cost"));
  CHECK_THAT(h.scheduler.explanation()[1], Contains("sequence 2: needs 3 blocks, 2 are free"));
}

TEST_CASE("misuse of ours aborts") {
  CHECK(Aborts([] {  // a token beyond the last
    Harness h(4);
    h.Add(1, 3, 1);
    h.Plan();
    h.scheduler.Complete({false});
    h.scheduler.Append(1, 0);
    h.scheduler.Append(1, 0);
  }));
  CHECK(Aborts([] {  // a token after one that is not computed
    Harness h(4);
    h.Add(1, 3, 5);
    h.Plan();
    h.scheduler.Complete({false});
    h.scheduler.Append(1, 0);
    h.scheduler.Append(1, 0);
  }));
  CHECK(Aborts([] {  // two plans in flight
    Harness h(4);
    h.Add(1, 3, 5);
    h.Plan();
    h.Plan();
  }));
  CHECK(Aborts([] {  // the same id twice
    Harness h(4);
    h.Add(1, 3, 5);
    h.Add(1, 3, 5);
  }));
  CHECK_FALSE(Aborts([] { Harness h(4); }));
}

}  // namespace latentd
