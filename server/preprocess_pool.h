// Threads for templates and tokenization, so that neither doors nor engine wait for them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace latentd {

// Thread-safe. Jobs are taken first come first served, and what waits is bounded by its bytes. Of
// several threads one takes only short jobs, so that long prompts, however many, hold no short one.
class PreprocessPool {
 public:
  // Tokenized in some hundredths of a second.
  static constexpr uint64_t kShortBytes = 64u << 10;

  // num_threads >= 1. max_pending_bytes bounds what waits and what is being worked on.
  PreprocessPool(int num_threads, uint64_t max_pending_bytes);
  // Runs every job still queued with run = false, then joins.
  ~PreprocessPool();

  // Called once, on a thread of the pool. run: false when the pool is being destroyed, and the job
  // should only tell its caller.
  using Job = std::function<void(bool run)>;
  // False (and `job` is dropped) when `bytes` more would be too many. One job always fits.
  bool Submit(uint64_t bytes, Job job);

 private:
  struct Entry {
    uint64_t bytes;
    uint64_t order;  // of its coming
    Job job;
  };
  // The next one for a thread of this kind, out of its queue. REQUIRES: there is one.
  Entry Take(bool short_only);
  void Work(bool short_only);

  const uint64_t max_pending_bytes_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Entry> short_, long_;  // guarded by mutex_, as all below
  uint64_t next_order_ = 0;
  uint64_t pending_bytes_ = 0;  // of queued and running jobs
  int64_t pending_jobs_ = 0;    // queued and running
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // set in the constructor only
};

}  // namespace latentd
