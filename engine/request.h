// One request inside the engine, and the stream its reader holds.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/engine.h"
#include "engine/event_queue.h"
#include "engine/executor.h"
#include "engine/sampling/choice_state.h"
#include "engine/sampling/logits_hash.h"

namespace latentd {

class Mailbox;

// A choice that the scheduler knows. Engine thread only.
struct Choice {
  Choice(const EngineRequest& request, uint32_t index, SequenceId sequence, int64_t vocab_size,
         std::string_view backend);

  uint32_t index;  // in the request
  SequenceId sequence;
  ChoiceState sampling;
  std::optional<LogitsHash> hash;   // when asked for
  std::optional<DrawnToken> drawn;  // in this step, not yet delivered
  bool over = false;
};

// Shared by the engine thread and the reader.
struct Request {
  Request(EngineRequest spec, TimePoint submitted, size_t queue_events,
          std::shared_ptr<Mailbox> mailbox);

  int64_t prompt_tokens() const { return static_cast<int64_t>(spec.prompt.size()); }
  // No choice is planned again, and the executor skips the layers that are left.
  void RaiseAllFlags();

  const EngineRequest spec;
  const TimePoint submitted;

  // Any thread.
  EventQueue queue;
  const std::shared_ptr<Mailbox> mailbox;
  const std::unique_ptr<std::atomic<bool>[]> leave;  // [num_choices]; the scheduler's `cancelled`
  std::atomic<bool> cancel{false};                   // by the reader
  std::atomic<bool> condemned{false};                // by CancelAll
  std::atomic<bool> resume{false};                   // the reader has drained a paused queue
  std::atomic<bool> ended{false};                    // kEnd is in the queue
  std::atomic<bool> touched{false};                  // is in the mailbox

  // Engine thread only.
  std::vector<std::unique_ptr<Choice>> choices;  // added to the scheduler so far, in order
  uint32_t num_over = 0;                         // of them
  bool prompt_computed = false;                  // by choice 0
  size_t prompt_events = 0;                      // kPrompt sent
  int64_t width_q, width_kv;                     // of all choices; 0 until a policy settles it
  bool paused = false;
  absl::Status failure;  // of this step; ends the request once the step is over
  std::optional<TimePoint> first_planned;
  uint32_t cached_prompt_tokens = 0;
};

// The reader's handle. See TokenStream.
class RequestStream : public TokenStream {
 public:
  explicit RequestStream(std::shared_ptr<Request> request);
  ~RequestStream() override;

  std::optional<TokenEvent> TryPop() override;
  void SetWake(std::function<void()> wake) override;
  void FinishChoice(uint32_t choice) override;
  void Cancel() override;

 private:
  bool Dropped(const TokenEvent& event) const;
  void Touch();

  const std::shared_ptr<Request> request_;
  std::vector<bool> finished_;  // [num_choices]: FinishChoice was called; by the consumer only
};

}  // namespace latentd
