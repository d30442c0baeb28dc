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

  using Wake = std::shared_ptr<const std::function<void()>>;  // shared: runs without the lock
  struct Pushed {
    Wake wake;          // to be run by the producer, soon: the queue was empty. Null: nothing to do
    bool full = false;  // PauseIfFull() would say so now
  };

  // Producer.
  Pushed Push(TokenEvent&& event);
  // Producer. True when full; the consumer will then report the fall exactly once.
  bool PauseIfFull();

  // Consumer. *fell is set when this pop took a paused queue below half; never cleared.
  std::optional<TokenEvent> TryPop(bool* fell);
  void SetWake(std::function<void()> wake);

 private:
  // Most events are a token and nothing else. Those are kept short: the two threads pass fewer
  // cache lines to each other.
  struct Slot {
    uint32_t choice = 0, token = 0;
    std::unique_ptr<TokenEvent> other;  // the whole event; null: a kToken of the queue's width
  };
  bool IsShort(const TokenEvent& event) const;

  const size_t high_, low_;
  std::mutex mutex_;                                // guards what follows
  std::vector<Slot> ring_;                          // its size is a power of two
  std::vector<std::unique_ptr<TokenEvent>> spare_;  // read ones, to be filled again
  size_t first_ = 0, size_ = 0;
  int64_t width_q_ = 0, width_kv_ = 0;  // of the short events
  bool paused_ = false;
  Wake wake_;
};

}  // namespace latentd
