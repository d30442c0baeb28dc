// Which requests the engine has taken on: limits on waiting ones, draining, and who is in flight.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"

namespace latentd {

struct Request;

// Thread-safe.
class Admissions {
 public:
  // At most so many requests, and prompt tokens, that have not been planned yet.
  Admissions(int64_t max_waiting_requests, int64_t max_waiting_tokens)
      : max_requests_(max_waiting_requests), max_tokens_(max_waiting_tokens) {}

  // Takes a request on, waiting, and submits it to its mailbox: whoever sees it here finds its
  // message there. UNAVAILABLE: draining. RESOURCE_EXHAUSTED: too many wait.
  absl::Status Admit(std::shared_ptr<Request> request);
  // RESOURCE_EXHAUSTED, with what there is too much of, when another would be refused as too many.
  absl::Status CheckRoom() const;
  // It is planned for the first time.
  void Start(const Request& request);
  // kEnd is about to be sent. REQUIRES: admitted, not yet ended.
  void End(Request* request, bool started);

  int64_t waiting() const;
  int64_t in_flight() const;

  void Drain();
  void AddDrainedCallback(std::function<void()> callback);
  // The callbacks that are due: empty unless draining with nothing in flight. Each is given once.
  std::vector<std::function<void()>> TakeDrained();

  // Marks every request in flight as condemned and raises its flags.
  void CondemnAll();

 private:
  absl::Status CheckRoomLocked() const;

  const int64_t max_requests_, max_tokens_;
  mutable std::mutex mutex_;  // guards what follows
  std::unordered_set<Request*> requests_;
  int64_t waiting_requests_ = 0, waiting_tokens_ = 0;
  bool draining_ = false;
  std::vector<std::function<void()>> drained_;
};

}  // namespace latentd
