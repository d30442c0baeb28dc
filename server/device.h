// The GPU that --device cuda asks for, without its headers. The build takes one of two definitions:
// device_cuda.cc where kernels are linked, device_none.cc where none are.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cache/block_layout.h"
#include "cache/block_memory.h"
#include "engine/executor.h"
#include "engine/model/loader.h"
#include "kernels/core/roofs.h"

namespace latentd {

// Beside the executor, which is the engine thread's: what liveness asks (any thread), and a way to
// fill the cache past it. Both borrow the executor.
struct DeviceExecutor {
  std::unique_ptr<Executor> executor;
  std::function<uint64_t()> layers_done;
  std::function<std::unique_ptr<BlockMemory>()> open_blocks;
};

// What the scheduler asks of an executor at most, and how it is to multiply.
struct StepSize {
  int64_t max_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_context = 0;
  bool relaxed = false;  // products by a library
};

// Main thread; executors borrow it and the model.
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string name() const = 0;
  // Copies the weights there. UNIMPLEMENTED for what no kernel takes, RESOURCE_EXHAUSTED when they
  // do not fit.
  virtual absl::Status Load(const Model& model, const LoadProgress& progress) = 0;
  // What a cache may take beside weights and steps; may be negative. After Load.
  virtual int64_t FreeForCache(const BlockLayout& layout, const StepSize& step) const = 0;
  // layout: of the blocks at full width. RESOURCE_EXHAUSTED when cache and steps do not fit,
  // FAILED_PRECONDITION when step.relaxed wants a library that is not there. After Load.
  virtual absl::StatusOr<DeviceExecutor> MakeExecutor(const BlockLayout& layout,
                                                      const StepSize& step,
                                                      int64_t cache_bytes) const = 0;
  // Measures what the device can do at best, at each call; between steps. Holds device memory:
  // RESOURCE_EXHAUSTED when that does not fit.
  virtual absl::StatusOr<std::function<Roofs()>> MakeRoofs() const = 0;
};

// FAILED_PRECONDITION, with one sentence, when there is none.
absl::StatusOr<std::unique_ptr<Device>> OpenDevice();

}  // namespace latentd
