#include "engine/model/model_executor.h"

#include <algorithm>

namespace latentd {

ModelExecutor::ModelExecutor(const ModelConfig& config, const Weights& weights,
                             const Context& context, const BlockLayout& layout, std::byte* pool,
                             int64_t max_rows, Determinism determinism)
    : config_(config),
      pool_(pool),
      transformer_(config, weights, context, layout, max_rows, determinism) {}

void ModelExecutor::Run(const StepPlan& plan, const LogitsSink& sink,
                        std::vector<EntryOutcome>* outcomes) {
  outcomes->assign(plan.entries.size(), EntryOutcome::kCancelled);
  batch_.Build(plan, config_.full_width());
  const MatrixView<float> x = transformer_.Embed(batch_);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    if (!batch_.DropCancelled()) return;
    transformer_.RunLayer(layer, batch_, pool_, x);
    layers_done_.fetch_add(1, std::memory_order_relaxed);
  }
  for (size_t entry : batch_.entries) (*outcomes)[entry] = EntryOutcome::kDone;
  DeliverLogits(plan, x, sink);
}

void ModelExecutor::DeliverLogits(const StepPlan& plan, MatrixView<const float> x,
                                  const LogitsSink& sink) {
  batch_.FindWanted(plan, &wanted_);
  const auto tile = static_cast<size_t>(transformer_.logits_tile());
  for (size_t begin = 0; begin < wanted_.size(); begin += tile) {
    const size_t count = std::min(tile, wanted_.size() - begin);
    tile_rows_.clear();
    for (size_t i = 0; i < count; ++i) tile_rows_.push_back(wanted_[begin + i].row);
    const MatrixView<float> logits = transformer_.Logits(x, tile_rows_);
    for (size_t i = 0; i < count; ++i) {
      const WantedRow& row = wanted_[begin + i];
      sink(row.entry, row.position,
           {logits.row(static_cast<int64_t>(i)), static_cast<size_t>(logits.cols)});
    }
  }
}

}  // namespace latentd
