// What the works of `latentd bench` run on: the CPU with some number of threads, or a device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "cache/block_memory.h"
#include "cache/block_pool.h"
#include "engine/executor.h"
#include "engine/model/loader.h"
#include "kernels/core/roofs.h"
#include "server/device.h"
#include "server/options.h"

namespace latentd {

// Main thread only. Borrows what it was made of.
class BenchMachine {
 public:
  virtual ~BenchMachine() = default;

  virtual Executor* executor() = 0;
  // Where the pool's blocks lie; null: in the pool.
  virtual BlockMemory* blocks() = 0;
  virtual Roofs MeasureRoofs() = 0;
  // Experts read since the start, summed over layers; nothing: they are not counted.
  virtual std::optional<int64_t> expert_runs() const = 0;
  virtual int threads() const = 0;  // 0: a device
};

std::unique_ptr<BenchMachine> MakeCpuMachine(const Model& model, const Options& options,
                                             int threads, BlockPool* pool);
// pool: without memory, which the executor takes on the device. RESOURCE_EXHAUSTED when that, steps
// of this size and what measures the roofs do not fit. REQUIRES: the device is loaded.
absl::StatusOr<std::unique_ptr<BenchMachine>> MakeDeviceMachine(const Device& device,
                                                                const BlockPool& pool,
                                                                const StepSize& step);

}  // namespace latentd
