// A model on the CUDA executor, over the device that the program is linked with; cache blocks in
// random order.
#pragma once

#include <algorithm>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "engine/cuda/cuda_executor.h"
#include "engine/model/cache_shape.h"
#include "tests/engine/model/step_runner.h"

namespace latentd {

struct DeviceRunner : StepRunner {
  static constexpr int64_t kBlocks = 24;

  static StepLimits Limits(int64_t partial_bytes = 1 << 20, bool relaxed = false) {
    return {.max_rows = 256,
            .max_sequences = 16,
            .max_context = 512,
            .partial_bytes = partial_bytes,
            .relaxed = relaxed};
  }
  DeviceRunner(const ModelConfig& config, const Weights& weights, int64_t partial_bytes = 1 << 20,
               bool relaxed = false)
      : DeviceRunner(config, weights, Limits(partial_bytes, relaxed)) {}
  DeviceRunner(const ModelConfig& config, const Weights& weights, const StepLimits& limits,
               int64_t num_blocks = kBlocks) {
    weights_ = *DeviceWeights::Upload(config, weights, {});
    const BlockLayout layout = BlockLayout::Make(config.num_layers, config.kv_lora_rank,
                                                 config.qk_rope_head_dim, config.num_alphas());
    // Never touched: it says which blocks there are.
    blocks = *BlockPool::Create(layout, num_blocks, {.poison = false, .may_allocate = {}});
    for (int64_t i = 0; i < num_blocks; ++i) free_.push_back(*blocks->Allocate());
    std::shuffle(free_.begin(), free_.end(), std::mt19937(7));
    executor =
        *CudaExecutor::Create(config, *weights_, layout, limits, num_blocks * layout.block_bytes);
  }

  Sequence NewSequence(std::vector<uint32_t> ids, Width width = {}) {
    Sequence s{std::move(ids), {}, 0, {}, width};
    for (size_t i = 0; i < (s.ids.size() + 63) / 64; ++i) {
      s.table.push_back(free_.back());
      free_.pop_back();
    }
    return s;
  }

  void Step(const std::vector<std::pair<Sequence*, int64_t>>& portions) {
    StepRunner::Step(executor.get(), portions);
  }

  std::unique_ptr<CudaExecutor> executor;

 private:
  std::unique_ptr<const DeviceWeights> weights_;
  std::vector<uint32_t> free_;
};

template <typename AnyModel>
std::vector<std::vector<float>> RunWholeOnDevice(const AnyModel& model,
                                                 const std::vector<uint32_t>& ids, Width width = {},
                                                 bool relaxed = false) {
  DeviceRunner runner(model.config, model.weights, 1 << 20, relaxed);
  auto s = runner.NewSequence(ids, width);
  runner.Step({{&s, static_cast<int64_t>(ids.size())}});
  return s.logits;
}

}  // namespace latentd
