// What an executor that draws tokens does, with the host's sampler over another executor's logits:
// a row of which a token is wanted does not reach the engine.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "engine/executor.h"
#include "engine/sampling/row_scan.h"
#include "engine/sampling/sampler.h"

namespace latentd {

class DrawingExecutor : public Executor {
 public:
  // Borrows `inner`.
  explicit DrawingExecutor(Executor* inner) : inner_(inner), sampler_(inner->vocab_size()) {}
  explicit DrawingExecutor(std::unique_ptr<Executor> inner) : DrawingExecutor(inner.get()) {
    owned_ = std::move(inner);
  }

  void Run(const StepPlan& plan, const LogitsSink& sink,
           std::vector<EntryOutcome>* outcomes) override {
    inner_->Run(plan, sink, outcomes);
  }
  // Tokens come at the end, as where a step is waited for once.
  void RunAndDraw(const StepPlan& plan, const LogitsSink& sink, const TokenSink& tokens,
                  std::vector<EntryOutcome>* outcomes) override {
    std::vector<Drawn> drawn;
    const auto take = [&](size_t entry_idx, int64_t position, std::span<float> logits) {
      if (const std::optional<WantedToken> token = tokens.wanted(entry_idx, position)) {
        drawn.push_back({entry_idx, position, Draw(*token, logits)});
        ++num_drawn_;
      } else {
        sink(entry_idx, position, logits);
        ++num_delivered_;
      }
    };
    inner_->Run(plan, take, outcomes);
    for (Drawn& d : drawn) tokens.take(d.entry_idx, d.position, std::move(d.token));
  }
  int64_t vocab_size() const override { return inner_->vocab_size(); }

  int64_t num_drawn() const { return num_drawn_; }
  int64_t num_delivered() const { return num_delivered_; }  // rows, by RunAndDraw

 private:
  struct Drawn {
    size_t entry_idx;
    int64_t position;
    absl::StatusOr<DrawnToken> token;
  };

  absl::StatusOr<DrawnToken> Draw(const WantedToken& wanted, std::span<const float> logits) {
    if (absl::Status status = CheckLogits(logits); !status.ok()) return status;
    const absl::StatusOr<uint32_t> token = sampler_.Draw(*wanted.choice, logits);
    if (!token.ok()) return token.status();
    DrawnToken drawn{.token = *token, .logprobs = {}};
    if (wanted.top_logprobs) drawn.logprobs = RawLogprobs(logits, *token, *wanted.top_logprobs);
    return drawn;
  }

  std::unique_ptr<Executor> owned_;
  Executor* const inner_;
  Sampler sampler_;
  int64_t num_drawn_ = 0, num_delivered_ = 0;
};

}  // namespace latentd
