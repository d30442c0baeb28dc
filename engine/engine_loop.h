// The engine without its thread: everything that happens, one turn at a time, so that tests can
// drive it by hand and with a clock of their own.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/admissions.h"
#include "engine/engine.h"
#include "engine/executor.h"
#include "engine/mailbox.h"
#include "engine/request.h"
#include "engine/sampling/sampler.h"
#include "engine/scheduler/scheduler.h"

namespace latentd {

// Draws the next token of a choice from its logits, on the engine thread; see Sampler::Draw. May
// throw: only that request fails.
using DrawFunction =
    std::function<absl::StatusOr<uint32_t>(const ChoiceState&, std::span<const float> logits)>;

// The Engine's functions may be called on any thread, the others on one: the engine thread.
//
// Choice 0 of a request goes to the scheduler at once, the others when it has computed the prompt:
// they find its blocks, waiting requests hold one copy of their prompt, and no token can come
// before the prompt's events. A choice of the engine is a sequence of the scheduler.
class EngineLoop : public Engine {
 public:
  // Borrows executor, pool and clock. Without `draw` the executor draws where it can, and else
  // Sampler.
  EngineLoop(EngineOptions options, Executor* executor, BlockPool* pool, Clock* clock,
             DrawFunction draw = {});
  ~EngineLoop() override;

  absl::StatusOr<std::shared_ptr<TokenStream>> Submit(EngineRequest request) override;
  absl::Status CheckRoom() const override { return admissions_.CheckRoom(); }
  EngineStats Stats() const override;
  uint64_t FlushCache(const uint64_t* tenant_salt) override;
  void Drain() override;
  int64_t InFlight() const override { return admissions_.in_flight(); }
  void OnDrained(std::function<void()> callback) override;
  void CancelAll(absl::Status status) override;

  // Reads the mailbox, runs at most one step, sends its events. False if there was nothing to do.
  bool RunOnce(TimePoint now);
  // When RunOnce may do something though nothing is posted.
  std::optional<TimePoint> NextWakeup() const;
  // RunOnce until Stop() was called and nothing is in flight. Closes the mailbox.
  void Run();
  // Any thread. Refuses new requests, cancels the others and makes Run return.
  void Stop();

 private:
  // A sequence of the scheduler. Null: no sequence has this id.
  struct SequenceEntry {
    Request* request = nullptr;
    Choice* choice = nullptr;
    int64_t prompt_tokens = 0;
    bool planned = false;  // in any step so far
  };
  // An entry of the step in flight. Null: its request ended after it was planned.
  struct StepEntry {
    Request* request = nullptr;
    Choice* choice = nullptr;
    int64_t end_position = 0;
  };

  // --- engine_loop.cc
  absl::Status Validate(const EngineRequest& request) const;
  void PublishStats();
  // Into the request's queue, with its width. The reader is woken by the next RunWakes.
  void Send(Request& request, TokenEvent&& event);
  void RunWakes();

  // --- engine_requests.cc: coming and going
  bool ReadMailbox();
  void ReadFlags(Request& request);
  // Hands choices to the scheduler. True if a request ended on the way.
  bool AddChoices();
  // False when the scheduler takes no more for now.
  bool AddChoice(Request& request);
  bool EndDropped(const StepPlan& plan);
  // An id for a sequence that the scheduler does not know yet.
  SequenceId NewSequence();
  // Leaves the scheduler, if it is there; the id is free.
  void DropSequence(SequenceId id);
  // Without an event. Ends the request with its last choice.
  void Leave(Request& request, Choice& choice);
  void FinishChoice(Request& request, Choice& choice, EngineFinish finish,
                    std::optional<uint32_t> matched_token);
  // Sends kEnd. The object lives until the end of the turn.
  void EndRequest(Request& request, absl::Status status);

  // --- engine_step.cc: one step
  void RunStep(const StepPlan& plan);
  void BeginStep(const StepPlan& plan, StepReport* report);
  void TakeRow(const StepEntry& entry, int64_t position, std::span<const float> logits);
  absl::Status SampleRow(Request& request, Choice& choice, int64_t position,
                         std::span<const float> logits);
  std::optional<WantedToken> WantedOf(const StepEntry& entry, int64_t position) const;
  void TakeToken(const StepEntry& entry, absl::StatusOr<DrawnToken> token);
  void TakePromptRow(Request& request, Choice& choice, int64_t position,
                     std::span<const float> logits);
  void Deliver(const StepEntry& entry);
  void DeliverToken(Request& request, Choice& choice);
  void PauseIfFull(Request& request, TimePoint now);

  const EngineOptions options_;
  Executor* const executor_;
  BlockPool* const pool_;
  Clock* const clock_;
  const int64_t context_;  // tokens of the longest sequence

  // Any thread.
  Admissions admissions_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex stats_mutex_;
  EngineStats stats_;  // guarded by stats_mutex_

  // Engine thread.
  Scheduler scheduler_;
  Sampler sampler_;
  const DrawFunction draw_;  // may be empty
  LogitsSink sink_;
  TokenSink tokens_;
  TimePoint now_;  // of this turn
  std::unordered_map<Request*, std::shared_ptr<Request>> live_;
  std::vector<std::shared_ptr<Request>>
      gone_;                              // in this turn: the step in flight may refer to them
  std::vector<Request*> adding_;          // have choices that the scheduler lacks; oldest first
  std::vector<Request*> adding_now_;      // scratch of AddChoices
  std::vector<SequenceEntry> sequences_;  // by id
  std::vector<SequenceId> free_ids_;      // of sequences_
  std::vector<EventQueue::Wake> wakes_;   // to be run
  std::vector<Request*> full_;            // their queues were, when last written to in this step
  std::vector<StepEntry> step_;
  std::vector<EntryOutcome> outcomes_;
  std::vector<bool> cancelled_;
  Mailbox::Contents mail_;
  uint64_t steps_ = 0, reported_preemptions_ = 0;
};

}  // namespace latentd
