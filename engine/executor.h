// Runs a StepPlan on a device. The seam at which tests put a fake one.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/scheduler/step_plan.h"

namespace latentd {

enum class EntryOutcome : uint8_t {
  kDone,       // latents written, wanted logits delivered
  kCancelled,  // its flag was seen between layers; what it wrote must not be reused
};

// Receives one logits row [vocab], fp32, valid during the call. Rows of an entry come in ascending
// position; called on the engine thread.
using LogitsSink = std::function<void(size_t entry_idx, int64_t position, std::span<float> logits)>;

// Engine thread only.
class Executor {
 public:
  virtual ~Executor() = default;
  // Computes every entry of the plan; outcomes (one per entry) is overwritten.
  virtual void Run(const StepPlan& plan, const LogitsSink& sink,
                   std::vector<EntryOutcome>* outcomes) = 0;
  virtual int64_t vocab_size() const = 0;
};

}  // namespace latentd
