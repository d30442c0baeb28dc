#include "server/preprocess_pool.h"

#include <algorithm>
#include <utility>

namespace latentd {

PreprocessPool::PreprocessPool(int num_threads, uint64_t max_pending_bytes)
    : max_pending_bytes_(max_pending_bytes) {
  for (int i = 0; i < std::max(1, num_threads); ++i) {
    threads_.emplace_back([this, short_only = i > 0 && i == num_threads - 1] { Work(short_only); });
  }
}

PreprocessPool::~PreprocessPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool PreprocessPool::Submit(uint64_t bytes, Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (pending_jobs_ > 0 &&
        bytes > max_pending_bytes_ - std::min(max_pending_bytes_, pending_bytes_)) {
      return false;
    }
    pending_bytes_ += bytes;
    ++pending_jobs_;
    (bytes <= kShortBytes ? short_ : long_).push_back({bytes, next_order_++, std::move(job)});
  }
  wake_.notify_all();  // one alone might be the thread that does not take it
  return true;
}

PreprocessPool::Entry PreprocessPool::Take(bool short_only) {
  const bool short_first =
      long_.empty() || (!short_.empty() && short_.front().order < long_.front().order);
  std::deque<Entry>& queue = short_only || short_first ? short_ : long_;
  Entry entry = std::move(queue.front());
  queue.pop_front();
  return entry;
}

void PreprocessPool::Work(bool short_only) {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto has_work = [&] { return !short_.empty() || (!short_only && !long_.empty()); };
    wake_.wait(lock, [&] { return stopping_ || has_work(); });
    if (!has_work()) return;
    Entry entry = Take(short_only);
    const bool run = !stopping_;
    lock.unlock();
    entry.job(run);
    entry.job = nullptr;  // what it holds goes before its bytes are given back
    lock.lock();
    pending_bytes_ -= entry.bytes;
    --pending_jobs_;
  }
}

}  // namespace latentd
