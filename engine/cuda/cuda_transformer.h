// engine/model/transformer.h on a device: the same mathematics, the same widths, and the roundings
// in the same places; sums have the order of the kernels (docs/cuda.md).
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/block_layout.h"
#include "engine/cuda/activations.h"
#include "engine/cuda/device_weights.h"
#include "engine/cuda/expanded_route.h"
#include "engine/cuda/projections.h"
#include "engine/cuda/step_inputs.h"
#include "engine/model/config.h"
#include "engine/model/step_batch.h"
#include "kernels/cuda/device_memory.h"

namespace latentd {

// The paged latents in device memory.
struct DevicePool {
  std::byte* base = nullptr;  // the first granule
  int64_t bytes = 0;
};

// Enqueues the work of a step on one stream and waits for nothing. Owns the activations; allocates
// nothing after construction. Engine thread only. Borrows config, weights, pool and stream, which
// outlive it. Without a library a token's bits depend on nothing but its own sequence.
class CudaTransformer {
 public:
  // Bytes of device memory that it takes.
  static int64_t DeviceBytes(const ModelConfig& config, const BlockLayout& layout,
                             const StepLimits& limits);
  // layout: of the blocks at full width. library: null is strict; REQUIRES: limits.relaxed says so.
  // Aborts when the device has not that many bytes.
  CudaTransformer(const ModelConfig& config, const DeviceWeights& weights,
                  const BlockLayout& layout, const StepLimits& limits, const DevicePool& pool,
                  CUstream_st* stream, std::unique_ptr<cuda::BlasLt> library);

  // x = embedding of the step's tokens.
  void Embed(const StepInputs& inputs);
  // Runs one layer on x and writes the layer's latents to the pool. batch: what inputs were made
  // of; of sequences that it has dropped since, the results mean nothing.
  void RunLayer(int64_t layer, const StepBatch& batch, const StepInputs& inputs);
  // Says which chunks of a step it expands; as long as the transformer.
  ExpandedRoute* expanded() { return &expanded_; }
  // Logits of the rows inputs.wanted[first … first + count − 1], at most kLogitsTile, in device
  // memory: [count, V], overwritten by the next call.
  MatrixView<const float> Logits(const StepInputs& inputs, int64_t first, int64_t count);

 private:
  // x, h and block_out of a step.
  struct Rows {
    MatrixView<float> x, h, out;
  };
  Rows RowsOf(int64_t count) const;

  void Attention(int64_t layer, const StepBatch& batch, const StepInputs& inputs,
                 MatrixView<const float> h, MatrixView<float> out);
  void ProjectQuery(const DeviceLayer& w, int64_t rank, MatrixView<const float> h,
                    MatrixView<float> q);
  void RotateQuery(const DeviceLayer& w, const StepInputs& inputs, MatrixView<float> q);
  void WriteLatents(int64_t layer, const WidthGroup& group, const BlockLayout& layout,
                    const StepInputs& inputs, MatrixView<const float> h);
  // Rows of one width in a layer, each from its query to its heads' outputs.
  struct AttentionRows {
    int64_t layer;
    const WidthGroup& group;
    const BlockLayout& layout;
    MatrixView<const float> q;  // of all rows of the step, and so are heads
    MatrixView<float> heads;
  };
  void AttendGroup(const AttentionRows& rows, const StepInputs& inputs,
                   const std::vector<AttentionStep>& launches,
                   const std::vector<ExpandedStep>& expanded);
  void AttendExpanded(const AttentionRows& rows, const ExpandedStep& step);
  // The absorbed route of `count` rows: what stands before attention, and W_UV z after it.
  void AbsorbQuery(const AttentionRows& rows, int64_t first, int64_t count);
  void Launch(const AttentionRows& rows, const StepInputs& inputs, const AttentionStep& launch);
  void ProjectValues(const AttentionRows& rows, int64_t first, int64_t count);
  void DenseMlp(const MlpWeights& w, const StepBatch& batch, MatrixView<const float> h,
                MatrixView<float> out);
  void Mlp(const MlpWeights& w, MatrixView<const float> h, MatrixView<float> out);
  void MixtureOfExperts(const DeviceLayer& w, MatrixView<const float> h, MatrixView<float> out);

  const ModelConfig& config_;
  const DeviceWeights& weights_;
  const BlockLayout layout_;
  const DevicePool pool_;
  CUstream_st* const stream_;
  cuda::DeviceBuffer memory_;
  Activations a_;
  Projections project_;
  ExpandedRoute expanded_;
};

}  // namespace latentd
