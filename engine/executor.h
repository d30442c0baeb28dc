// Runs a StepPlan on a device. The seam at which tests put a fake one.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/sampling/choice_state.h"
#include "engine/sampling/logprobs.h"
#include "engine/scheduler/step_plan.h"

namespace latentd {

enum class EntryOutcome : uint8_t {
  kDone,       // latents written, wanted logits delivered
  kCancelled,  // its flag was seen between layers; what it wrote must not be reused
};

// Receives one logits row [vocab], fp32, valid during the call. Rows of an entry come in ascending
// position; called on the engine thread.
using LogitsSink = std::function<void(size_t entry_idx, int64_t position, std::span<float> logits)>;

// The next token of a choice, to be drawn from a row. Borrowed and left as it is until RunAndDraw
// returns.
struct WantedToken {
  const ChoiceState* choice = nullptr;
  std::optional<uint32_t>
      top_logprobs;  // RawLogprobs' num_top, <= kMaxTopLogprobs; none: no logprobs
  // [⌈vocab / 32⌉], as Constraint::FillMask fills it: bit t % 32 of word t / 32 says that token t
  // may come next. Empty: every token may.
  std::span<const uint32_t> mask;
};

struct DrawnToken {
  uint32_t token = 0;
  std::optional<TokenLogprobs> logprobs;  // when asked for
};

// For tokens that are drawn where the logits are, so that those stay there. Called on the engine
// thread, within RunAndDraw.
struct TokenSink {
  // Asked of each row that the plan wants, once: the token that is wanted of it, or nothing, which
  // is its logits.
  std::function<std::optional<WantedToken>(size_t entry_idx, int64_t position)> wanted;
  // The token that Sampler::Draw gives for the row, with RawLogprobs' logprobs, bit for bit; or the
  // error of CheckLogits or of Draw.
  std::function<void(size_t entry_idx, int64_t position, absl::StatusOr<DrawnToken> token)> take;
};

// Engine thread only.
class Executor {
 public:
  virtual ~Executor() = default;
  // Computes every entry of the plan; outcomes (one per entry) is overwritten.
  virtual void Run(const StepPlan& plan, const LogitsSink& sink,
                   std::vector<EntryOutcome>* outcomes) = 0;
  // The same; but of a row of which a token is wanted an executor may draw it, for `take`, in place
  // of giving the logits to `sink`. Each row goes to one of them. By default none is drawn.
  virtual void RunAndDraw(const StepPlan& plan, const LogitsSink& sink, const TokenSink& /*tokens*/,
                          std::vector<EntryOutcome>* outcomes) {
    Run(plan, sink, outcomes);
  }
  virtual int64_t vocab_size() const = 0;
};

}  // namespace latentd
