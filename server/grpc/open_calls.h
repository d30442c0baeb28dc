// How many calls of our services are open.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace latentd {

// Thread-safe.
class OpenCalls {
 public:
  void Begin() {
    const std::lock_guard lock(mutex_);
    ++open_;
  }
  void End() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) none_.notify_all();
  }
  // Until none is open, or the deadline.
  void WaitForNone(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    none_.wait_until(lock, deadline, [this] { return open_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable none_;
  int open_ = 0;  // guarded by mutex_
};

}  // namespace latentd
