#include "engine/event_queue.h"

#include <algorithm>
#include <utility>

namespace latentd {

EventQueue::EventQueue(size_t high) : high_(high), low_(std::max<size_t>(1, high / 2)), ring_(4) {}

void EventQueue::Push(TokenEvent event) {
  std::shared_ptr<const std::function<void()>> wake;
  {
    const std::lock_guard lock(mutex_);
    if (size_ == ring_.size()) {
      std::rotate(ring_.begin(), ring_.begin() + static_cast<std::ptrdiff_t>(first_), ring_.end());
      first_ = 0;
      ring_.resize(2 * ring_.size());
    }
    ring_[(first_ + size_) % ring_.size()] = std::move(event);
    if (size_++ == 0) wake = wake_;
  }
  if (wake != nullptr) (*wake)();
}

bool EventQueue::PauseIfFull() {
  const std::lock_guard lock(mutex_);
  paused_ = paused_ || size_ >= high_;
  return paused_;
}

std::optional<TokenEvent> EventQueue::TryPop(bool* fell) {
  const std::lock_guard lock(mutex_);
  if (size_ == 0) return std::nullopt;
  TokenEvent event = std::move(ring_[first_]);
  first_ = (first_ + 1) % ring_.size();
  --size_;
  if (paused_ && size_ < low_) {
    paused_ = false;
    *fell = true;
  }
  return event;
}

void EventQueue::SetWake(std::function<void()> wake) {
  std::shared_ptr<const std::function<void()>> next;
  if (wake) next = std::make_shared<const std::function<void()>>(std::move(wake));
  bool now = false;
  {
    const std::lock_guard lock(mutex_);
    wake_ = next;
    now = size_ > 0;
  }
  if (now && next != nullptr) (*next)();
}

}  // namespace latentd
