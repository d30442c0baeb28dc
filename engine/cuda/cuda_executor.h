// The executor that runs a real model on a device.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/cuda/cuda_transformer.h"
#include "engine/cuda/device_sampler.h"
#include "engine/cuda/device_weights.h"
#include "engine/cuda/step_graphs.h"
#include "engine/cuda/step_inputs.h"
#include "engine/executor.h"

namespace latentd {

// Owns the latent pool and the activations in device memory; a step allocates none. Draws tokens on
// the device. bf16 latents alone. Engine thread only, except layers_done(); made on a thread that
// has called cuda::UseDevice. Borrows config and weights.
class CudaExecutor : public Executor {
 public:
  // Bytes of device memory beside weights and pool: what is taken at once, and what the graphs of
  // decode steps are left (GraphReserveBytes). `layout` is that of the blocks at full width.
  static int64_t WorkBytes(const ModelConfig& config, const BlockLayout& layout,
                           const StepLimits& limits);

  // RESOURCE_EXHAUSTED, with the numbers, when work and a pool of pool_bytes do not fit;
  // UNIMPLEMENTED for latents that are not bf16; FAILED_PRECONDITION when limits.relaxed wants a
  // library that cannot be used.
  static absl::StatusOr<std::unique_ptr<CudaExecutor>> Create(const ModelConfig& config,
                                                              const DeviceWeights& weights,
                                                              const BlockLayout& layout,
                                                              const StepLimits& limits,
                                                              int64_t pool_bytes);

  // A flag is looked at as each layer is enqueued, which runs ahead of the device: of a step whose
  // sequences are all cancelled the rest is not enqueued. A step of one token for each sequence is
  // one graph (StepInputs::shape), to its draws (DrawsWithin), before which flags are looked at
  // once. Waits once, when all is enqueued, and besides for each kLogitsTile rows of logits that
  // come to the host.
  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override {
    RunStep(plan, sink, nullptr, outcomes);
  }
  void RunAndDraw(const StepPlan& plan, const LogitsSink& sink, const TokenSink& tokens,
                  std::vector<EntryOutcome>* outcomes) override {
    RunStep(plan, sink, &tokens, outcomes);
  }
  int64_t vocab_size() const override { return config_.vocab_size; }
  // Where the blocks lie; as long as the executor.
  DevicePool pool() const { return {pool_->data(), static_cast<int64_t>(pool_->bytes())}; }

  // Counts layers finished since the start, a step's at its end. Any thread.
  uint64_t layers_done() const { return layers_done_.load(std::memory_order_relaxed); }

 private:
  CudaExecutor(const ModelConfig& config, const DeviceWeights& weights, const BlockLayout& layout,
               const StepLimits& limits, std::unique_ptr<cuda::DeviceBuffer> pool,
               std::unique_ptr<cuda::BlasLt> library);

  // tokens: null when none may be drawn.
  void RunStep(const StepPlan& plan, const LogitsSink& sink, const TokenSink* tokens,
               std::vector<EntryOutcome>* outcomes);
  // Layers that were run: all, unless every sequence was cancelled.
  int64_t RunLayers(const StepInputs& inputs);
  // The layers of a decode step and, where they stand in it, its draws.
  void RunGraph(const StepInputs& inputs);
  // Whether the step's graph makes its tokens too: one of every sequence, with lists so short that
  // the device need not be at work while the host lays them out.
  bool DrawsWithin(const StepInputs& inputs) const;
  void FindWanted(const StepPlan& plan, const TokenSink* tokens);
  bool IsDrawn(const TokenSink* tokens, const WantedRow& row);
  // Logits of the first num_rows wanted rows, and their draws.
  void DrawRows(const StepInputs& inputs, int64_t num_rows);
  void DrawTokens(const StepInputs& inputs);
  void DeliverLogits(const StepInputs& inputs, const LogitsSink& sink,
                     const std::vector<EntryOutcome>& outcomes);
  void DeliverTokens(const TokenSink& tokens, const std::vector<EntryOutcome>& outcomes);

  const ModelConfig& config_;
  const std::unique_ptr<cuda::DeviceBuffer> pool_;
  cuda::Stream stream_;
  CudaTransformer transformer_;
  StepSender sender_;
  StepGraphs graphs_;
  DeviceSampler sampler_;
  cuda::PinnedBuffer logits_;  // [kLogitsTile, V]
  StepBatch batch_;
  std::atomic<uint64_t> layers_done_{0};
  std::vector<WantedRow> wanted_;
  std::vector<WantedRow> drawn_;      // those of which a token is drawn here
  std::vector<WantedRow> delivered_;  // the others, whose logits are given
  std::vector<int32_t> wanted_rows_;  // of the batch: drawn_'s, then delivered_'s
};

}  // namespace latentd
