// How many requests are under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

namespace latentd {

// Thread-safe. Held by shared_ptr: tickets keep it alive.
class InFlightCount : public std::enable_shared_from_this<InFlightCount> {
 public:
  // Counts one more until the last copy is gone.
  std::shared_ptr<void> Ticket() {
    ++count_;
    return std::shared_ptr<void>(nullptr, [self = shared_from_this()](void*) { self->Leave(); });
  }
  // `callback` runs whenever the count falls to 0, on the thread that drops the last ticket.
  void OnZero(std::function<void()> callback) {
    const std::lock_guard lock(mutex_);
    on_zero_ = std::move(callback);
  }
  int64_t count() const { return count_; }

 private:
  void Leave() {
    if (--count_ > 0) return;
    std::function<void()> callback;
    {
      const std::lock_guard lock(mutex_);
      callback = on_zero_;
    }
    if (callback) callback();
  }

  std::atomic<int64_t> count_{0};
  std::mutex mutex_;
  std::function<void()> on_zero_;  // guarded by mutex_
};

}  // namespace latentd
