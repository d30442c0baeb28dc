#include "kernels/core/thread_pool.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <numeric>
#include <thread>
#include <vector>

namespace latentd {
namespace {

TEST_CASE("every index runs once, in ranges of at most the grain, on a thread the pool has") {
  for (const int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool(num_threads);
    CHECK(pool.num_threads() == num_threads);
    for (const int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) {
        std::vector<int> runs(count);  // unsynchronised on purpose: ranges are disjoint
        std::atomic<bool> well_formed = true;
        pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end, int thread_idx) {
          if (begin >= end || end - begin > grain || end > count || thread_idx < 0 ||
              thread_idx >= num_threads) {
            well_formed = false;
            return;
          }
          for (int64_t i = begin; i < end; ++i) ++runs[i];
        });
        CHECK(well_formed);
        CHECK(std::accumulate(runs.begin(), runs.end(), int64_t{0}) == count);
        CHECK(std::all_of(runs.begin(), runs.end(), [](int n) { return n == 1; }));
      }
    }
  }
}

// The second range starts only when the first is entered, so that one thread alone would wait for
// ever.
TEST_CASE("workers take part") {
  ThreadPool pool(2);
  for (int loop = 0; loop < 100; ++loop) {
    std::atomic<int> entered = 0;
    pool.ParallelFor(2, 1, [&](int64_t, int64_t, int) {
      ++entered;
      while (entered < 2) std::this_thread::yield();
    });
    CHECK(entered == 2);
  }
}

TEST_CASE("what one loop wrote is seen by the next") {
  ThreadPool pool(4);
  std::vector<int64_t> values(513);
  for (int loop = 0; loop < 3000; ++loop) {
    pool.ParallelFor(513, 1 + loop % 50, [&](int64_t begin, int64_t end, int) {
      // A mirrored index: likely another thread's in the loop before.
      for (int64_t i = begin; i < end; ++i) values[loop % 2 == 0 ? i : 512 - i] += 1;
    });
  }
  CHECK(std::all_of(values.begin(), values.end(), [](int64_t n) { return n == 3000; }));
}

TEST_CASE("threads of one loop have indices of their own") {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> inside(4);
  std::atomic<bool> shared = false;
  pool.ParallelFor(20000, 1, [&](int64_t, int64_t, int thread_idx) {
    if (inside[thread_idx].fetch_add(1) != 0) shared = true;
    inside[thread_idx].fetch_sub(1);
  });
  CHECK_FALSE(shared);
}

TEST_CASE("without a pool a loop runs on the caller, in the same ranges") {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  ParallelFor(nullptr, 10, 4, [&](int64_t begin, int64_t end, int thread_idx) {
    CHECK(thread_idx == 0);
    ranges.emplace_back(begin, end);
  });
  CHECK(ranges == std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {4, 8}, {8, 10}});
}

}  // namespace
}  // namespace latentd
