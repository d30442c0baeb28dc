#include "server/cli/bench_machine.h"

#include <functional>
#include <utility>

#include "engine/model/model_executor.h"
#include "kernels/core/thread_pool.h"

namespace latentd {
namespace {

class CpuMachine : public BenchMachine {
 public:
  CpuMachine(const Model& model, const Options& options, int threads, BlockPool* pool)
      : threads_(threads),
        context_{PathOf(options), &threads_},
        executor_(model.config, model.weights, context_, pool->layout(), pool->base(),
                  options.max_num_batched_tokens, DeterminismOf(options)) {}

  Executor* executor() override { return &executor_; }
  BlockMemory* blocks() override { return nullptr; }
  Roofs MeasureRoofs() override { return latentd::MeasureRoofs(context_); }
  std::optional<int64_t> expert_runs() const override { return executor_.expert_runs(); }
  int threads() const override { return threads_.num_threads(); }

 private:
  ThreadPool threads_;
  const Context context_;
  ModelExecutor executor_;
};

class DeviceMachine : public BenchMachine {
 public:
  DeviceMachine(DeviceExecutor made, std::function<Roofs()> roofs)
      : executor_(std::move(made.executor)),
        blocks_(made.open_blocks()),
        roofs_(std::move(roofs)) {}

  Executor* executor() override { return executor_.get(); }
  BlockMemory* blocks() override { return blocks_.get(); }
  Roofs MeasureRoofs() override { return roofs_(); }
  std::optional<int64_t> expert_runs() const override { return std::nullopt; }
  int threads() const override { return 0; }

 private:
  const std::unique_ptr<Executor> executor_;
  const std::unique_ptr<BlockMemory> blocks_;
  const std::function<Roofs()> roofs_;
};

}  // namespace

std::unique_ptr<BenchMachine> MakeCpuMachine(const Model& model, const Options& options,
                                             int threads, BlockPool* pool) {
  return std::make_unique<CpuMachine>(model, options, threads, pool);
}

absl::StatusOr<std::unique_ptr<BenchMachine>> MakeDeviceMachine(const Device& device,
                                                                const BlockPool& pool,
                                                                const StepSize& step) {
  auto executor =
      device.MakeExecutor(pool.layout(), step, pool.num_pages() * pool.shape().page_bytes());
  if (!executor.ok()) return executor.status();
  auto roofs = device.MakeRoofs();
  if (!roofs.ok()) return roofs.status();
  return std::make_unique<DeviceMachine>(*std::move(executor), *std::move(roofs));
}

}  // namespace latentd
