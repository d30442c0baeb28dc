// Waiting for the service's asynchronous answers on a command-line thread.
#pragma once

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "server/service.h"

namespace latentd {

// Calls start(callback) and waits for the callback's value.
template <typename T, typename Start>
absl::StatusOr<T> WaitFor(Start&& start) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<T>>>();
  std::future<absl::StatusOr<T>> future = promise->get_future();
  start([promise](absl::StatusOr<T> value) { promise->set_value(std::move(value)); });
  return future.get();
}

// Wakes one waiting thread; a wake before the wait is kept. Shared with callbacks, which may come
// after the waiter has left.
class Signal {
 public:
  void Wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return woken_; });
    woken_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

// Hands every message to `each` and returns how the stream ended, or the first error of `each`:
// dropping the stream then cancels what is left.
template <typename Message, typename Each>
absl::Status ReadAll(MessageStream<Message>& stream, Each&& each) {
  auto signal = std::make_shared<Signal>();
  stream.SetWake([signal] { signal->Wake(); });
  for (;;) {
    auto item = stream.TryNext();
    if (item.message) {
      if (absl::Status status = each(*item.message); !status.ok()) return status;
    }
    if (item.ended) return *item.ended;
    if (!item.message) signal->Wait();
  }
}

}  // namespace latentd
