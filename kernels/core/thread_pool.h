// A fixed set of worker threads for parallel loops inside one operator.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace latentd {

// The calling (engine) thread takes part in every loop. Workers spin briefly after a loop, then
// sleep. Chunks are handed out as threads come free, so no result may depend on who computes which
// index. Not reentrant: one loop at a time, started by one thread.
class ThreadPool {
 public:
  // REQUIRES: num_threads >= 1 (1: no workers, loops run on the caller).
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  // Calls body(begin, end, thread_idx) over disjoint ranges of at most `grain` indices that cover
  // [0, count); returns when all are done. 0 <= thread_idx < num_threads() names the caller's
  // scratch.
  using Body = std::function<void(int64_t begin, int64_t end, int thread_idx)>;
  void ParallelFor(int64_t count, int64_t grain, const Body& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// ParallelFor on the pool, or inline when it is null.
void ParallelFor(ThreadPool* pool, int64_t count, int64_t grain, const ThreadPool::Body& body);

}  // namespace latentd
