#include "server/preprocess_pool.h"

#include <algorithm>
#include <utility>

namespace latentd {

PreprocessPool::PreprocessPool(int num_threads, uint64_t max_pending_bytes)
    : max_pending_bytes_(max_pending_bytes) {
  for (int i = 0; i < std::max(1, num_threads); ++i) threads_.emplace_back([this] { Work(); });
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
    queue_.push_back({bytes, std::move(job)});
  }
  wake_.notify_one();
  return true;
}

void PreprocessPool::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Entry entry = std::move(queue_.front());
    queue_.pop_front();
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
