// The executor that runs a real model on the CPU back end.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/executor.h"
#include "engine/model/transformer.h"

namespace latentd {

// Engine thread only, except layers_done(). Borrows config, weights, context and the pool's memory.
class ModelExecutor : public Executor {
 public:
  // pool: the first granule. max_rows: the most tokens of one step.
  ModelExecutor(const ModelConfig& config, const Weights& weights, const Context& context,
                const BlockLayout& layout, std::byte* pool, int64_t max_rows,
                Determinism determinism = Determinism::kStrict);

  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override;
  int64_t vocab_size() const override { return config_.vocab_size; }

  // Counts layers finished since the start: liveness is their progress. Any thread.
  uint64_t layers_done() const { return layers_done_.load(std::memory_order_relaxed); }

  // See Transformer.
  int64_t expert_runs() const { return transformer_.expert_runs(); }

 private:
  void DeliverLogits(const StepPlan& plan, MatrixView<const float> x, const LogitsSink& sink);

  const ModelConfig& config_;
  std::byte* const pool_;
  Transformer transformer_;
  StepBatch batch_;
  std::atomic<uint64_t> layers_done_{0};
  std::vector<WantedRow> wanted_;
  std::vector<int64_t> tile_rows_;
};

}  // namespace latentd
