// Reuse of blocks that another sequence computed.
#include <catch2/catch.hpp>

#include "tests/engine/scheduler/harness.h"

namespace latentd {
namespace {

// The prompt of sequence 1 under another id.
SequenceSpec Like1(SequenceId id, int64_t prompt_tokens, int64_t max_new_tokens) {
  SequenceSpec spec = Harness::Spec(1, prompt_tokens, max_new_tokens);
  spec.id = id;
  return spec;
}

}  // namespace

TEST_CASE("choices of one request compute the prompt once and share its full blocks") {
  Harness h(64);
  for (SequenceId id = 1; id <= 8; ++id) h.Add(Like1(id, 200, 30));
  CHECK(h.Step() == std::vector<Planned>{{1, 0, 200}});
  const auto planned = h.Step();
  REQUIRE(planned.size() == 8);
  for (size_t i = 1; i < 8; ++i) {
    CHECK(planned[i] == Planned{static_cast<SequenceId>(i + 1), 192, 8});
    const auto table = h.scheduler.BlockTable(i + 1);
    for (size_t b = 0; b < 3; ++b) CHECK(table[b] == h.scheduler.BlockTable(1)[b]);
    CHECK(table[3] != h.scheduler.BlockTable(1)[3]);
  }
  CHECK(h.scheduler.stats().prefix_queries == 8 * 200);
  CHECK(h.scheduler.stats().prefix_hits == 7 * 192);
  h.RunAll();
  for (SequenceId id = 1; id <= 8; ++id) CHECK(h.output(id) == Harness::Solo(Like1(id, 200, 30)));
}

TEST_CASE("a hit never covers the last token, whose logits are wanted") {
  for (int64_t prompt_tokens : {63, 64, 65, 127, 128, 129}) {
    Harness h(16);
    h.Add(1, prompt_tokens, 3);
    h.RunAll();
    h.Add(Like1(2, prompt_tokens, 3));
    CHECK(h.Step()[0].first_position == (prompt_tokens - 1) / 64 * 64);
    h.RunAll();
    CHECK(h.output(2) == Harness::Solo(Like1(2, prompt_tokens, 3)));
  }
}

TEST_CASE("a hit leaves every position whose row is wanted") {
  Harness h(16);
  h.Add(1, 300, 3);
  h.RunAll();
  SequenceSpec spec = Like1(2, 300, 1);
  spec.first_logits_position = 130;
  h.Add(spec);
  CHECK(h.Step()[0].first_position == 128);
  spec.id = 3;
  spec.first_logits_position = 127;
  h.Add(spec);
  CHECK(h.Step()[0].first_position == 64);
  CHECK(h.rows[2].size() == 170);
  CHECK(h.rows[3].size() == 173);
}

TEST_CASE("generated blocks are reused as well") {
  Harness h(16);
  h.Add(1, 60, 80);
  h.RunAll();
  SequenceSpec next = Harness::Spec(1, 60, 5);
  next.id = 2;
  for (uint32_t token : h.output(1)) next.prompt.push_back(token);
  next.first_logits_position = 139;
  h.Add(next);
  CHECK(h.Step()[0].first_position == 128);
  h.RunAll();
  CHECK(h.output(2) == Harness::Solo(next));
}

TEST_CASE("salts, widths and the switch separate") {
  const auto hits = [](void (*change)(SequenceSpec&), bool reuse) {
    SchedulerOptions options;
    options.prefix_reuse = reuse;
    Harness h(16, options);
    h.Add(1, 100, 3);
    h.RunAll();
    SequenceSpec spec = Like1(2, 100, 3);
    change(spec);
    h.Add(spec);
    h.RunAll();
    CHECK(h.output(2) == Harness::Solo(spec));
    return h.scheduler.stats().prefix_hits;
  };
  CHECK(hits([](SequenceSpec&) {}, true) == 64);
  CHECK(hits([](SequenceSpec&) {}, false) == 0);
  CHECK(hits([](SequenceSpec& s) { s.tenant_salt[0] = 1; }, true) == 0);
  CHECK(hits([](SequenceSpec& s) { s.tenant_salt[1] = 1; }, true) == 0);
  CHECK(hits([](SequenceSpec& s) { s.width_q = 1; }, true) == 0);
  CHECK(hits([](SequenceSpec& s) { s.width_kv = 1; }, true) == 0);
  CHECK(hits([](SequenceSpec& s) { s.prompt[63] ^= 1; }, true) == 0);
  CHECK(hits([](SequenceSpec& s) { s.prompt[64] ^= 1; }, true) == 64);
}

TEST_CASE("a flush by salt drops that salt's blocks only") {
  Harness h(16);
  h.Add(1, 100, 3);
  SequenceSpec other = Like1(2, 100, 3);
  other.tenant_salt[0] = 5;
  h.Add(other);
  h.RunAll();
  CHECK(h.scheduler.stats().reusable_blocks == 2);
  const uint64_t salt[2] = {5, 0};
  CHECK(h.scheduler.FlushCache(salt) == 1);
  CHECK(h.scheduler.stats().reusable_blocks == 1);
  CHECK(h.scheduler.FlushCache(nullptr) == 1);
  CHECK(h.pool->num_free() == 16);
}

TEST_CASE("sequences that computed the same at the same time end with one copy") {
  SchedulerOptions options;
  options.max_num_batched_tokens = 400;
  Harness h(16, options);
  h.Add(1, 10, 200);
  h.Add(Like1(2, 10, 200));  // its blocks fill while both decode
  while (h.num_blocks(1) < 3 || h.num_blocks(2) < 3) h.Step();
  for (size_t b : {0, 1}) CHECK(h.scheduler.BlockTable(1)[b] == h.scheduler.BlockTable(2)[b]);
  CHECK(h.scheduler.BlockTable(1)[2] != h.scheduler.BlockTable(2)[2]);
  h.RunAll();
  for (SequenceId id : {1, 2}) CHECK(h.output(id) == Harness::Solo(Like1(id, 10, 200)));
}

TEST_CASE("a preempted sequence finds its own blocks again") {
  Harness h(7);
  h.Add(1, 100, 200);
  h.Add(2, 100, 100);
  while (h.scheduler.stats().preemptions == 0) h.Step();
  REQUIRE(h.num_blocks(2) == 0);
  CHECK(h.scheduler.stats().reusable_blocks > 0);
  while (h.num_blocks(2) == 0) h.Step();
  h.RunAll();
  CHECK(h.output(2) == Harness::Solo(Harness::Spec(2, 100, 100)));
  CHECK(h.rows[2].size() == 100);
}

TEST_CASE("a leader that pauses holds nobody up") {
  SchedulerOptions options;
  options.max_num_batched_tokens = 80;
  Harness h(32, options);
  h.Add(1, 300, 3);
  h.Add(Like1(2, 300, 3));
  CHECK(h.Step() == std::vector<Planned>{{1, 0, 80}});
  CHECK(h.Step() == std::vector<Planned>{{1, 80, 80}});
  h.scheduler.SetPaused(1, true, h.clock.Now());
  CHECK(h.Step() == std::vector<Planned>{{2, 128, 80}});
}

}  // namespace latentd
