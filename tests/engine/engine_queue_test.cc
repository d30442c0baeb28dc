#include <catch2/catch.hpp>

#include "engine/event_queue.h"

namespace latentd {
namespace {

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

TEST_CASE("It is full at the mark and reports once when it has fallen below half") {
  EventQueue queue(6);
  for (uint32_t i = 0; i < 5; ++i) queue.Push(Event(i));
  CHECK_FALSE(queue.PauseIfFull());
  queue.Push(Event(5));
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

TEST_CASE("The wake runs when the queue becomes non-empty, or at once if it is") {
  EventQueue queue(6);
  int wakes = 0;
  queue.SetWake([&] { ++wakes; });
  CHECK(wakes == 0);
  queue.Push(Event(0));
  queue.Push(Event(1));
  CHECK(wakes == 1);
  bool fell = false;
  queue.TryPop(&fell);
  queue.TryPop(&fell);
  queue.Push(Event(2));
  CHECK(wakes == 2);
  int others = 0;
  queue.SetWake([&] { ++others; });
  CHECK(others == 1);
  queue.SetWake(nullptr);
  queue.TryPop(&fell);
  queue.Push(Event(3));
  CHECK(wakes == 2);
  CHECK(others == 1);
}

}  // namespace
}  // namespace latentd
