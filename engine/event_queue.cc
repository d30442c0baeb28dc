#include "engine/event_queue.h"

#include <algorithm>
#include <utility>

namespace latentd {

EventQueue::EventQueue(size_t high) : high_(high), low_(std::max<size_t>(1, high / 2)), ring_(4) {}

bool EventQueue::IsShort(const TokenEvent& event) const {
  return event.kind == TokenEvent::Kind::kToken && !event.logprobs && !event.logits_hash &&
         event.width_q == width_q_ && event.width_kv == width_kv_;
}

EventQueue::Pushed EventQueue::Push(TokenEvent&& event) {
  Pushed pushed;
  const std::lock_guard lock(mutex_);
  if (size_ == ring_.size()) {
    std::rotate(ring_.begin(), ring_.begin() + static_cast<std::ptrdiff_t>(first_), ring_.end());
    first_ = 0;
    ring_.resize(2 * ring_.size());
  }
  if (size_ == 0) {
    width_q_ = event.width_q;
    width_kv_ = event.width_kv;
  }
  Slot& slot = ring_[(first_ + size_) & (ring_.size() - 1)];
  slot.choice = event.choice;
  slot.token = event.token;
  if (!IsShort(event)) {
    slot.other = spare_.empty() ? std::make_unique<TokenEvent>() : std::move(spare_.back());
    if (!spare_.empty()) spare_.pop_back();
    *slot.other = std::move(event);
  }
  if (size_++ == 0) pushed.wake = wake_;
  pushed.full = size_ >= high_;
  return pushed;
}

bool EventQueue::PauseIfFull() {
  const std::lock_guard lock(mutex_);
  paused_ = paused_ || size_ >= high_;
  return paused_;
}

std::optional<TokenEvent> EventQueue::TryPop(bool* fell) {
  std::optional<TokenEvent> event;
  const std::lock_guard lock(mutex_);
  if (size_ == 0) return event;
  Slot& slot = ring_[first_];
  if (slot.other != nullptr) {
    event = std::move(*slot.other);
    spare_.push_back(std::move(slot.other));
  } else {
    event.emplace();
    event->kind = TokenEvent::Kind::kToken;
    event->choice = slot.choice;
    event->token = slot.token;
    event->width_q = width_q_;
    event->width_kv = width_kv_;
  }
  first_ = (first_ + 1) & (ring_.size() - 1);
  --size_;
  if (paused_ && size_ < low_) {
    paused_ = false;
    *fell = true;
  }
  return event;
}

void EventQueue::SetWake(std::function<void()> wake) {
  Wake next;
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
