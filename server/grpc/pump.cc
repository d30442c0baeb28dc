#include "server/grpc/pump.h"

#include <utility>

namespace latentd {

Pump::Pump(std::chrono::milliseconds interval, std::function<void()> tick)
    : interval_(interval), tick_(std::move(tick)), thread_([this] { Work(); }) {}

void Pump::Post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Pump::Stop() {
  std::deque<std::function<void()>> dropped;  // destroyed outside the lock
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    dropped.swap(jobs_);
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Pump::Work() {
  auto next_tick = std::chrono::steady_clock::now() + interval_;
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    const bool due =
        !wake_.wait_until(lock, next_tick, [this] { return stopped_ || !jobs_.empty(); });
    if (stopped_) return;
    if (due || std::chrono::steady_clock::now() >= next_tick) {
      lock.unlock();
      tick_();
      next_tick = std::chrono::steady_clock::now() + interval_;
      lock.lock();
      continue;
    }
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;
    lock.lock();
  }
}

}  // namespace latentd
