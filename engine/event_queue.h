// The events of one request on their way from the engine thread to its reader.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/engine.h"

namespace latentd {

// One producer, one consumer. The bound is kept by the producer: it stops producing once
// PauseIfFull() says so, until a TryPop() reports that the queue has fallen below half.
class EventQueue {
 public:
  // high >= 1: events from which on the queue is full.
  explicit EventQueue(size_t high);

  // Producer. Wakes the consumer if the queue was empty.
  void Push(TokenEvent event);
  // Producer. True when full; the consumer will then report the fall exactly once.
  bool PauseIfFull();

  // Consumer. *fell is set when this pop took a paused queue below half; never cleared.
  std::optional<TokenEvent> TryPop(bool* fell);
  void SetWake(std::function<void()> wake);

 private:
  const size_t high_, low_;
  std::mutex mutex_;  // guards what follows
  std::vector<TokenEvent> ring_;
  size_t first_ = 0, size_ = 0;
  bool paused_ = false;
  std::shared_ptr<const std::function<void()>> wake_;  // shared: runs without the lock
};

}  // namespace latentd
