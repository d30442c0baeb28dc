// Runs a plan in pieces of at most so many tokens a sequence, whatever the scheduler made of it, so
// that chunk size and batch are independent of each other.
#pragma once

#include "engine/executor.h"

namespace latentd {

class ChunkingExecutor : public Executor {
 public:
  ChunkingExecutor(Executor* inner, int64_t chunk) : inner_(inner), chunk_(chunk) {}

  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override;
  int64_t vocab_size() const override { return inner_->vocab_size(); }

  int64_t most_entries() const { return most_entries_; }  // of one pass
  int64_t longest_chunk() const { return longest_chunk_; }

 private:
  Executor* const inner_;
  const int64_t chunk_;
  int64_t most_entries_ = 0, longest_chunk_ = 0;
};

}  // namespace latentd
