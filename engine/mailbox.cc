#include "engine/mailbox.h"

#include <utility>

namespace latentd {

void Mailbox::Submit(std::shared_ptr<Request> request) {
  {
    const std::lock_guard lock(mutex_);
    contents_.submitted.push_back(std::move(request));
  }
  posted_.notify_one();
}

void Mailbox::Touch(std::shared_ptr<Request> request) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    contents_.touched.push_back(std::move(request));
  }
  posted_.notify_one();
}

bool Mailbox::Post(std::function<void()> task) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    contents_.tasks.push_back(std::move(task));
  }
  posted_.notify_one();
  return true;
}

void Mailbox::Close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  posted_.notify_one();
}

bool Mailbox::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void Mailbox::Take(Contents* contents) {
  const std::lock_guard lock(mutex_);
  std::swap(contents_, *contents);
}

bool Mailbox::empty() const {
  return contents_.submitted.empty() && contents_.touched.empty() && contents_.tasks.empty();
}

void Mailbox::Wait(std::optional<std::chrono::nanoseconds> timeout) {
  std::unique_lock lock(mutex_);
  const auto ready = [this] { return closed_ || !empty(); };
  if (timeout) {
    posted_.wait_for(lock, *timeout, ready);
  } else {
    posted_.wait(lock, ready);
  }
}

}  // namespace latentd
