#include "kernels/core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/core/check.h"

namespace latentd {
namespace {

// The gate word: bit 0 says that a loop is open to workers, bits 1–15 count the workers inside it,
// the rest numbers the loops. One word, so that entering and closing cannot cross: a worker that
// wakes after its loop was closed never touches it, and the caller never waits for a worker that
// sleeps.
constexpr uint64_t kOpen = 1;
constexpr uint64_t kOneInside = 2;
constexpr uint64_t kInsideMask = 0xfffe;
constexpr uint64_t kOneLoop = 0x10000;
constexpr int kMaxThreads = 0x7fff;

// How long an idle worker keeps looking before it sleeps. A wake-up costs about as much.
constexpr std::chrono::microseconds kSpin{50};

void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::mutex mutex;  // guards only the sleep: everything else is ordered by the atomics
  std::condition_variable wake;
  std::atomic<int> num_asleep{0};
  std::atomic<bool> stop{false};

  alignas(64) std::atomic<uint64_t> gate{0};
  // The loop in progress; written before the gate opens, read only by those inside.
  int64_t count = 0;
  int64_t grain = 1;
  const Body* body = nullptr;
  alignas(64) std::atomic<int64_t> next{0};

  bool HasNews(uint64_t last_loop) const {
    const uint64_t now = gate.load();
    return stop.load() || ((now & kOpen) != 0 && now / kOneLoop != last_loop);
  }
  void RunChunks(int thread_idx);
  void WaitForNews(uint64_t last_loop);
  void WorkerMain(int thread_idx);
};

void ThreadPool::State::RunChunks(int thread_idx) {
  for (;;) {
    const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
    if (begin >= count) return;
    (*body)(begin, std::min(begin + grain, count), thread_idx);
  }
}

void ThreadPool::State::WaitForNews(uint64_t last_loop) {
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; ++i) {
      if (HasNews(last_loop)) return;
      Relax();
    }
  } while (std::chrono::steady_clock::now() < deadline);

  // Announce, then look again: the caller opens the gate, then looks for sleepers. Both orders are
  // sequentially consistent, so one of the two sees the other.
  std::unique_lock lock(mutex);
  num_asleep.fetch_add(1);
  wake.wait(lock, [&] { return HasNews(last_loop); });
  num_asleep.fetch_sub(1);
}

void ThreadPool::State::WorkerMain(int thread_idx) {
  uint64_t last_loop = 0;
  for (;;) {
    WaitForNews(last_loop);
    if (stop.load()) return;
    uint64_t now = gate.load();
    while ((now & kOpen) != 0) {
      if (gate.compare_exchange_weak(now, now + kOneInside)) {
        RunChunks(thread_idx);
        gate.fetch_sub(kOneInside);
        last_loop = now / kOneLoop;
        break;
      }
    }
  }
}

ThreadPool::ThreadPool(int num_threads) : state_(std::make_unique<State>()) {
  LATENTD_CHECK(num_threads >= 1 && num_threads <= kMaxThreads);
  for (int i = 1; i < num_threads; ++i) {
    state_->workers.emplace_back([state = state_.get(), i] { state->WorkerMain(i); });
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop.store(true);
  }
  state_->wake.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::num_threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::ParallelFor(int64_t count, int64_t grain, const Body& body) {
  LATENTD_CHECK(grain >= 1);
  State& state = *state_;
  if (count <= grain || state.workers.empty()) {
    for (int64_t begin = 0; begin < count; begin += grain) {
      body(begin, std::min(begin + grain, count), 0);
    }
    return;
  }
  const uint64_t before = state.gate.load();
  LATENTD_CHECK((before & (kOpen | kInsideMask)) == 0 &&
                "ThreadPool::ParallelFor is not reentrant");
  state.count = count;
  state.grain = grain;
  state.body = &body;
  state.next.store(0);
  state.gate.store(before + kOneLoop + kOpen);
  if (state.num_asleep.load() > 0) {
    { const std::lock_guard lock(state.mutex); }  // a sleeper is either waiting or will look again
    state.wake.notify_all();
  }
  state.RunChunks(0);
  state.gate.fetch_sub(kOpen);
  // Workers are inside their last chunk. Yield after a while: one may have lost its core.
  for (int spins = 0; (state.gate.load() & kInsideMask) != 0; ++spins) {
    if (spins < 4096) {
      Relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ParallelFor(ThreadPool* pool, int64_t count, int64_t grain, const ThreadPool::Body& body) {
  if (pool != nullptr) {
    pool->ParallelFor(count, grain, body);
    return;
  }
  LATENTD_CHECK(grain >= 1);
  for (int64_t begin = 0; begin < count; begin += grain) {
    body(begin, std::min(begin + grain, count), 0);
  }
}

}  // namespace latentd
