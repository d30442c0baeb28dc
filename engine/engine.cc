#include "engine/engine.h"

#include <thread>
#include <utility>

#include "engine/engine_loop.h"

namespace latentd {
namespace {

class SteadyClock : public Clock {
 public:
  TimePoint Now() override { return std::chrono::steady_clock::now(); }
};

class ThreadedEngine final : public EngineLoop {
 public:
  ThreadedEngine(const EngineOptions& options, Executor* executor, BlockPool* pool, Clock* clock)
      : EngineLoop(options, executor, pool, clock), thread_([this] { Run(); }) {}
  ~ThreadedEngine() override {
    Stop();
    thread_.join();
  }

 private:
  std::thread thread_;
};

}  // namespace

Clock* Clock::Steady() {
  static SteadyClock clock;
  return &clock;
}

std::unique_ptr<Engine> Engine::Start(const EngineOptions& options, Executor* executor,
                                      BlockPool* pool, Clock* clock) {
  return std::make_unique<ThreadedEngine>(options, executor, pool, clock);
}

}  // namespace latentd
