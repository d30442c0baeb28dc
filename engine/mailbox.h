// What other threads tell the engine thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace latentd {

struct Request;

// Any thread posts, the engine thread takes. Bounded without ever blocking a poster: a request is
// submitted once, under the engine's limit of waiting requests, and is touched at most once until
// the engine thread has looked at it (Request::touched).
class Mailbox {
 public:
  struct Contents {
    std::vector<std::shared_ptr<Request>> submitted;
    std::vector<std::shared_ptr<Request>> touched;  // look at their flags
    std::vector<std::function<void()>> tasks;       // rare: flush, cancel all
  };

  void Submit(std::shared_ptr<Request> request);
  void Touch(std::shared_ptr<Request> request);
  // Runs on the engine thread. False, and nothing is kept, once the mailbox is closed.
  bool Post(std::function<void()> task);
  void Close();
  bool closed() const;

  // Engine thread. Moves everything into *contents, whose vectors must be empty; they lend memory.
  void Take(Contents* contents);
  // Engine thread. Returns when something was posted, or after `timeout` if there is one.
  void Wait(std::optional<std::chrono::nanoseconds> timeout);

 private:
  bool empty() const;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable posted_;
  Contents contents_;
  bool closed_ = false;
};

}  // namespace latentd
