#include "engine/cuda/cuda_executor.h"
#include "engine/cuda/device_blocks.h"
#include "engine/cuda/device_roofs.h"
#include "engine/cuda/device_weights.h"
#include "server/device.h"

namespace latentd {
namespace {

class CudaDevice : public Device {
 public:
  std::string name() const override { return cuda::QueryDevice().name; }

  absl::Status Load(const Model& model, const LoadProgress& progress) override {
    cuda::LoadKernels();
    auto weights = DeviceWeights::Upload(model.config, model.weights, progress);
    if (!weights.ok()) return weights.status();
    weights_ = *std::move(weights);
    config_ = &model.config;
    return absl::OkStatus();
  }

  int64_t FreeForCache(const BlockLayout& layout, const StepSize& step) const override {
    return static_cast<int64_t>(cuda::QueryDevice().free_bytes) -
           CudaExecutor::WorkBytes(*config_, layout, LimitsOf(step));
  }

  absl::StatusOr<DeviceExecutor> MakeExecutor(const BlockLayout& layout, const StepSize& step,
                                              int64_t cache_bytes) const override {
    auto made = CudaExecutor::Create(*config_, *weights_, layout, LimitsOf(step), cache_bytes);
    if (!made.ok()) return made.status();
    CudaExecutor* const executor = made->get();
    return DeviceExecutor{*std::move(made), [executor] { return executor->layers_done(); },
                          [executor] { return std::make_unique<DeviceBlocks>(executor->pool()); }};
  }

  absl::StatusOr<std::function<Roofs()>> MakeRoofs() const override {
    auto made = DeviceRoofs::Create();
    if (!made.ok()) return made.status();
    return [roofs = std::shared_ptr<DeviceRoofs>(*std::move(made))] { return roofs->Measure(); };
  }

 private:
  static StepLimits LimitsOf(const StepSize& step) {
    return {.max_rows = step.max_tokens,
            .max_sequences = step.max_sequences,
            .max_context = step.max_context,
            .relaxed = step.relaxed};
  }

  const ModelConfig* config_ = nullptr;
  std::unique_ptr<const DeviceWeights> weights_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> OpenDevice() {
  if (!cuda::UseDevice()) {
    return absl::FailedPreconditionError(
        "--device cuda: no device of compute capability 9.0 was found; use --device cpu");
  }
  return std::make_unique<CudaDevice>();
}

}  // namespace latentd
