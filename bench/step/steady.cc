#include "bench/step/steady.h"

#include <atomic>
#include <chrono>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "bench/step/empty_executor.h"
#include "cache/block_pool.h"
#include "engine/engine_loop.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

constexpr int64_t kPromptTokens = 16;

double CpuSeconds() {  // of this thread
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double WallSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Stopwatch {
 public:
  SteadyCost Elapsed() const { return {CpuSeconds() - cpu_, WallSeconds() - wall_}; }

 private:
  double cpu_ = CpuSeconds(), wall_ = WallSeconds();
};

// Steps before the measured ones, and after.
constexpr int64_t kWarmSteps = 8;

uint32_t MaxTokens(const SteadyWork& work) {
  return static_cast<uint32_t>(work.steps + 2 * kWarmSteps);
}

// Room for all, so that nothing is evicted or preempted.
std::unique_ptr<BlockPool> MakePool(const SteadyWork& work) {
  const int64_t blocks = (kPromptTokens + MaxTokens(work)) / kBlockTokens + 2;
  auto pool = BlockPool::Create(BlockLayout::Make(1, 64, 0, 0), work.batch * blocks);
  LATENTD_CHECK(pool.ok());
  return *std::move(pool);
}

SchedulerOptions MakeSchedulerOptions(const SteadyWork& work) {
  SchedulerOptions options;
  options.max_num_seqs = work.batch;
  options.max_num_batched_tokens = work.batch * (kPromptTokens + 1) + 64;
  options.step_us = 1'000'000'000;
  options.max_waiting = work.batch;
  options.cost = {1, 0.001};
  return options;
}

// No two alike.
std::vector<uint32_t> Prompt(const SteadyWork& work, int64_t number) {
  std::vector<uint32_t> prompt(kPromptTokens);
  for (uint32_t& token : prompt) {
    token = static_cast<uint32_t>(number % work.vocab_size);
    number /= work.vocab_size;
  }
  return prompt;
}

EngineOptions MakeEngineOptions(const SteadyWork& work) {
  EngineOptions options;
  options.scheduler = MakeSchedulerOptions(work);
  options.max_waiting_requests = work.batch;
  return options;
}

std::vector<std::shared_ptr<TokenStream>> SubmitAll(const SteadyWork& work, Engine* engine) {
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (int64_t i = 0; i < work.batch; ++i) {
    EngineRequest request;
    request.prompt = Prompt(work, i);
    request.sampling.temperature = 0;
    request.max_tokens = MaxTokens(work);
    auto stream = engine->Submit(std::move(request));
    LATENTD_CHECK(stream.ok());
    streams.push_back(*std::move(stream));
  }
  return streams;
}

}  // namespace

SteadyCost RunScheduler(const SteadyWork& work) {
  const auto pool = MakePool(work);
  Scheduler scheduler(MakeSchedulerOptions(work), pool.get());
  for (int64_t i = 0; i < work.batch; ++i) {
    SequenceSpec spec;
    spec.id = static_cast<SequenceId>(i + 1);
    spec.prompt = Prompt(work, i);
    spec.first_logits_position = kPromptTokens - 1;
    spec.max_new_tokens = MaxTokens(work);
    LATENTD_CHECK(scheduler.Add(std::move(spec)).ok());
  }
  const std::vector<bool> cancelled(static_cast<size_t>(work.batch), false);
  const auto step = [&] {
    const StepPlan& plan = scheduler.Plan(std::chrono::steady_clock::now());
    LATENTD_CHECK(plan.entries.size() == cancelled.size());
    scheduler.Complete(cancelled);
    for (SequenceId id = 1; id <= cancelled.size(); ++id) scheduler.Append(id, 1);
  };
  for (int64_t i = 0; i < kWarmSteps; ++i) step();
  const Stopwatch watch;
  for (int64_t i = 0; i < work.steps; ++i) step();
  return watch.Elapsed();
}

SteadyCost RunLoop(const SteadyWork& work) {
  const auto pool = MakePool(work);
  EmptyExecutor executor(work.vocab_size);
  EngineLoop loop(MakeEngineOptions(work), &executor, pool.get(), Clock::Steady());
  const auto streams = SubmitAll(work, &loop);
  const auto ready = std::make_shared<bool>(false);
  for (const auto& stream : streams) stream->SetWake([ready] { *ready = true; });
  const auto step = [&] {
    LATENTD_CHECK(loop.RunOnce(std::chrono::steady_clock::now()));
    LATENTD_CHECK(std::exchange(*ready, false));
    for (const auto& stream : streams) {
      LATENTD_CHECK(stream->TryPop().has_value());
      LATENTD_CHECK(!stream->TryPop().has_value());
    }
  };
  for (int64_t i = 0; i < kWarmSteps; ++i) step();
  const Stopwatch watch;
  for (int64_t i = 0; i < work.steps; ++i) step();
  return watch.Elapsed();
}

SteadyCost RunThreads(const SteadyWork& work) {
  const auto pool = MakePool(work);
  EmptyExecutor executor(work.vocab_size);
  EngineOptions options = MakeEngineOptions(work);
  // A reader that the machine does not run for a while must not stop the measured thread.
  options.queue_events = MaxTokens(work);
  int64_t full_steps = 0;  // as the following: engine thread only, until it is joined
  std::optional<Stopwatch> watch;
  SteadyCost cost;
  options.on_step = [&](const StepReport& report) {
    if (report.decode_tokens != work.batch) return;
    ++full_steps;
    if (full_steps == kWarmSteps) watch.emplace();
    if (full_steps == kWarmSteps + work.steps) cost = watch->Elapsed();
  };
  auto engine = Engine::Start(options, &executor, pool.get(), Clock::Steady());
  auto streams = SubmitAll(work, engine.get());
  const auto ready = std::make_shared<std::atomic<bool>>(false);
  const auto wake = [ready] {
    if (!ready->exchange(true, std::memory_order_acq_rel)) ready->notify_one();
  };
  for (const auto& stream : streams) stream->SetWake(wake);
  while (!streams.empty()) {
    ready->wait(false);
    ready->store(false, std::memory_order_release);
    std::erase_if(streams, [](const auto& stream) {
      while (const std::optional<TokenEvent> event = stream->TryPop()) {
        if (event->kind == TokenEvent::Kind::kEnd) return true;
      }
      return false;
    });
  }
  engine.reset();
  LATENTD_CHECK(full_steps >= kWarmSteps + work.steps);
  return cost;
}

}  // namespace latentd
