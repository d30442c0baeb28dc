#include <catch2/catch.hpp>

#include "engine/event_queue.h"

namespace latentd {
namespace {

void PushAndWake(EventQueue& queue, TokenEvent event) {
  if (const auto wake = queue.Push(std::move(event)).wake) (*wake)();
}

TokenEvent Event(uint32_t token) {
  TokenEvent event;
  event.token = token;
  return event;
}

TEST_CASE("The queue keeps order while it grows and wraps") {
  EventQueue queue(8);
  uint32_t pushed = 0, popped = 0;
  bool fell = false;
  for (uint32_t round = 1; round < 40; ++round) {
    for (uint32_t i = 0; i < round; ++i) queue.Push(Event(pushed++));
    for (uint32_t i = 0; i + 1 < round; ++i) REQUIRE(queue.TryPop(&fell)->token == popped++);
  }
  while (auto event = queue.TryPop(&fell)) REQUIRE(event->token == popped++);
  CHECK(popped == pushed);
  CHECK_FALSE(fell);  // nobody paused it
}

TEST_CASE("Every event comes out as it went in") {
  EventQueue queue(8);
  std::vector<TokenEvent> events(6);
  for (uint32_t i = 0; i < events.size(); ++i) {
    events[i].choice = i + 1;
    events[i].token = 100 + i;
    events[i].width_q = events[i].width_kv = 64;
  }
  events[1].logprobs.emplace().chosen.logprob = -0.5F;
  events[2].logits_hash.emplace().fill('h');
  events[3].width_kv = 32;
  events[4].kind = TokenEvent::Kind::kFinish;
  events[4].matched_token = 7;
  events[5].kind = TokenEvent::Kind::kEnd;
  events[5].status = absl::CancelledError("left");
  for (const TokenEvent& event : events) queue.Push(TokenEvent(event));
  for (const TokenEvent& in : events) {
    bool fell = false;
    const std::optional<TokenEvent> out = queue.TryPop(&fell);
    REQUIRE(out);
    CHECK(out->kind == in.kind);
    CHECK(out->choice == in.choice);
    CHECK(out->token == in.token);
    CHECK(out->width_q == in.width_q);
    CHECK(out->width_kv == in.width_kv);
    CHECK(out->logprobs.has_value() == in.logprobs.has_value());
    CHECK(out->logits_hash == in.logits_hash);
    CHECK(out->matched_token == in.matched_token);
    CHECK(out->status == in.status);
  }
}

TEST_CASE("It is full at the mark and reports once when it has fallen below half") {
  EventQueue queue(6);
  for (uint32_t i = 0; i < 5; ++i) CHECK_FALSE(queue.Push(Event(i)).full);
  CHECK_FALSE(queue.PauseIfFull());
  CHECK(queue.Push(Event(5)).full);
  CHECK(queue.PauseIfFull());
  std::vector<bool> reports;
  for (int i = 0; i < 6; ++i) {
    bool fell = false;
    queue.TryPop(&fell);
    reports.push_back(fell);
  }
  CHECK(reports == std::vector<bool>{false, false, false, true, false, false});
  CHECK_FALSE(queue.PauseIfFull());
}

TEST_CASE("A queue of one event pauses and resumes") {
  EventQueue queue(1);
  queue.Push(Event(0));
  CHECK(queue.PauseIfFull());
  bool fell = false;
  queue.TryPop(&fell);
  CHECK(fell);
}

TEST_CASE("The wake is due when the queue becomes non-empty, or at once if it is") {
  EventQueue queue(6);
  int wakes = 0;
  queue.SetWake([&] { ++wakes; });
  CHECK(wakes == 0);
  PushAndWake(queue, Event(0));
  PushAndWake(queue, Event(1));
  CHECK(wakes == 1);
  bool fell = false;
  queue.TryPop(&fell);
  queue.TryPop(&fell);
  PushAndWake(queue, Event(2));
  CHECK(wakes == 2);
  int others = 0;
  queue.SetWake([&] { ++others; });
  CHECK(others == 1);
  queue.SetWake(nullptr);
  queue.TryPop(&fell);
  PushAndWake(queue, Event(3));
  CHECK(wakes == 2);
  CHECK(others == 1);
}

}  // namespace
}  // namespace latentd
