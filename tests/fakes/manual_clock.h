// A clock that stands still until told otherwise.
#pragma once

#include <atomic>
#include <chrono>

#include "engine/engine.h"

namespace latentd {

// Any thread.
class ManualClock : public Clock {
 public:
  TimePoint Now() override { return TimePoint(std::chrono::microseconds(us_.load())); }
  void Advance(std::chrono::microseconds by) { us_.fetch_add(by.count()); }

 private:
  std::atomic<int64_t> us_{1'000'000};
};

}  // namespace latentd
