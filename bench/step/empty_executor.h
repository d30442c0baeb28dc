// The executor that does nothing, so that what is left of a step is the engine's own work.
#pragma once

#include <span>
#include <vector>

#include "engine/executor.h"

namespace latentd {

// Every wanted row is the same: token 1 is the largest of all. Engine thread only.
class EmptyExecutor : public Executor {
 public:
  explicit EmptyExecutor(int64_t vocab_size) : logits_(static_cast<size_t>(vocab_size)) {
    logits_.at(1) = 1;
  }

  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override {
    outcomes->assign(plan.entries.size(), EntryOutcome::kDone);
    for (size_t i = 0; i < plan.entries.size(); ++i) {
      const PlanEntry& entry = plan.entries[i];
      const int64_t last = entry.first_position + entry.num_tokens() - 1;
      if (last >= entry.first_logits_position) sink(i, last, logits_);
    }
  }
  int64_t vocab_size() const override { return static_cast<int64_t>(logits_.size()); }

 private:
  std::vector<float> logits_;
};

}  // namespace latentd
