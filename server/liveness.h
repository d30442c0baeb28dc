// Whether the engine still gets on: progress of layers, not of steps (architecture.md).
#pragma once

#include <mutex>
#include <optional>

#include "engine/engine.h"

namespace latentd {

// Judges by what it sees at each Check, so it wants to be asked now and then. Any thread.
class Liveness {
 public:
  // False: there is work, and no layer has been computed for two minutes.
  bool Check(const EngineStats& stats, int64_t in_flight, TimePoint now);

 private:
  std::mutex mutex_;
  uint64_t layers_ = 0;  // guarded by mutex_, as the next
  std::optional<TimePoint> progress_;
};

}  // namespace latentd
