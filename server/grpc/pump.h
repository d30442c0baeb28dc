// A thread that runs short jobs for the gRPC door: gRPC's callback API has none to lend, and wakes
// come from the engine's thread, which must not wait.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace latentd {

// Thread-safe.
class Pump {
 public:
  // `tick` runs on the thread about every `interval`.
  Pump(std::chrono::milliseconds interval, std::function<void()> tick);
  ~Pump() { Stop(); }

  // Queues `job`; after Stop it is dropped.
  void Post(std::function<void()> job);
  // Drops what is queued and joins. Not from the thread itself. Idempotent.
  void Stop();

 private:
  void Work();

  const std::chrono::milliseconds interval_;
  const std::function<void()> tick_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_
  bool stopped_ = false;                    // guarded by mutex_
  std::thread thread_;
};

}  // namespace latentd
