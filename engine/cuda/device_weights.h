// A model's weights in device memory.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/config.h"
#include "engine/model/loader.h"
#include "engine/model/weights.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/experts.h"

namespace latentd {

// LayerWeights with pointers and views into device memory; null where that is empty. What key
// normalisation folds into the query stands as QueryNorm has it.
struct DeviceLayer {
  const float* input_norm = nullptr;
  const float* post_attention_norm = nullptr;
  WeightView q_proj, q_a_proj, q_b_proj, kv_a_proj, kv_b_proj, o_proj;
  const float* q_a_bias = nullptr;
  const float* q_a_norm = nullptr;
  const float* kv_a_bias = nullptr;
  const float* kv_a_norm = nullptr;
  const float* o_bias = nullptr;
  const float* query_content_norm = nullptr;
  const float* query_rope_norm = nullptr;
  const float* query_unified_norm = nullptr;
  const float* k_rope_norm = nullptr;
  MlpWeights mlp, shared_expert;
  WeightView router_weight;  // fp32
  const float* router_bias = nullptr;
  cuda::ExpertMatrices expert_gate, expert_up, expert_down;  // device tables
};

// Owns one allocation in which every piece begins on 256 bytes. Immutable; any thread.
class DeviceWeights {
 public:
  // Copies the weights, as they are stored, to the current device and returns when they are there.
  // UNIMPLEMENTED for a model that the kernels do not take (device_support.h); RESOURCE_EXHAUSTED,
  // with the numbers, when they do not fit. `progress` is told bytes sent and in all.
  static absl::StatusOr<std::unique_ptr<const DeviceWeights>> Upload(const ModelConfig& config,
                                                                     const Weights& weights,
                                                                     const LoadProgress& progress);

  WeightView embedding, lm_head;
  const float* final_norm = nullptr;
  std::vector<DeviceLayer> layers;

  uint64_t bytes() const { return memory_->bytes(); }

 private:
  std::unique_ptr<cuda::DeviceBuffer> memory_;
};

}  // namespace latentd
