// One step: from the plan to the events of its rows.
#include <algorithm>
#include <utility>

#include "engine/engine_loop.h"
#include "engine/sampling/row_scan.h"

namespace latentd {
namespace {

// Whether the next token of the choice is drawn from the row at `position`.
bool IsDrawn(const Request& request, const Choice& choice, int64_t position) {
  const auto generated = static_cast<int64_t>(choice.sampling.num_generated());
  return request.spec.max_tokens > 0 && position == request.prompt_tokens() - 1 + generated;
}

}  // namespace

void EngineLoop::RunStep(const StepPlan& plan) {
  StepReport report;
  BeginStep(plan, &report);
  const TimePoint begin = clock_->Now();
  if (draw_) {
    executor_->Run(plan, sink_, &outcomes_);
  } else {
    executor_->RunAndDraw(plan, sink_, tokens_, &outcomes_);
  }
  const TimePoint end = clock_->Now();
  cancelled_.resize(outcomes_.size());
  std::transform(outcomes_.begin(), outcomes_.end(), cancelled_.begin(),
                 [](EntryOutcome outcome) { return outcome == EntryOutcome::kCancelled; });
  scheduler_.Complete(cancelled_, std::chrono::duration<double, std::micro>(end - begin).count());
  ++steps_;
  for (size_t i = 0; i < step_.size(); ++i) {
    if (!cancelled_[i]) Deliver(step_[i]);
  }
  for (Request* request : full_) PauseIfFull(*request, end);
  if (!options_.on_step) return;
  report.seconds = std::chrono::duration<double>(end - begin).count();
  const uint64_t preemptions = scheduler_.stats().preemptions;
  report.preemptions = preemptions - std::exchange(reported_preemptions_, preemptions);
  options_.on_step(report);
}

void EngineLoop::BeginStep(const StepPlan& plan, StepReport* report) {
  step_.clear();
  full_.clear();  // what was sent earlier in this turn were ends
  for (const PlanEntry& entry : plan.entries) {
    SequenceEntry& sequence = sequences_[entry.sequence];
    step_.push_back({sequence.request, sequence.choice, entry.first_position + entry.num_tokens()});
    ++report->num_entries;
    if (sequence.request == nullptr) continue;
    const bool decode = entry.num_tokens() == 1 && entry.first_position >= sequence.prompt_tokens;
    (decode ? report->decode_tokens : report->prefill_tokens) += entry.num_tokens();
    if (std::exchange(sequence.planned, true)) continue;
    Request& request = *sequence.request;
    if (request.first_planned) continue;  // by another choice
    request.first_planned = now_;
    request.width_q = entry.width_q;
    request.width_kv = entry.width_kv;
    request.cached_prompt_tokens = static_cast<uint32_t>(entry.first_position);
    admissions_.Start(request);
  }
}

// A fault in one row is the fault of its request alone: nothing may escape into the executor.
void EngineLoop::TakeRow(const StepEntry& entry, int64_t position, std::span<const float> logits) {
  if (entry.request == nullptr || !entry.request->failure.ok()) return;
  absl::Status& failure = entry.request->failure;
  try {
    failure = SampleRow(*entry.request, *entry.choice, position, logits);
  } catch (...) {
    failure = absl::InternalError("a token of this request could not be sampled");
  }
}

absl::Status EngineLoop::SampleRow(Request& request, Choice& choice, int64_t position,
                                   std::span<const float> logits) {
  const EngineRequest& spec = request.spec;
  if (absl::Status status = CheckLogits(logits); !status.ok()) return status;
  if (choice.index == 0 && spec.prompt_top_logprobs)
    TakePromptRow(request, choice, position, logits);
  if (!IsDrawn(request, choice, position)) return absl::OkStatus();
  if (choice.hash) choice.hash->AddRow(logits);
  const absl::StatusOr<uint32_t> token =
      draw_ ? draw_(choice.sampling, logits) : sampler_.Draw(choice.sampling, logits);
  if (!token.ok()) return token.status();
  choice.drawn = DrawnToken{.token = *token, .logprobs = {}};
  if (spec.top_logprobs) choice.drawn->logprobs = RawLogprobs(logits, *token, *spec.top_logprobs);
  return absl::OkStatus();
}

// The logits of other rows are for a hash or for a score of the prompt, or for nobody.
std::optional<WantedToken> EngineLoop::WantedOf(const StepEntry& entry, int64_t position) const {
  if (entry.request == nullptr) return std::nullopt;
  const Request& request = *entry.request;
  const Choice& choice = *entry.choice;
  const bool scores_prompt =
      choice.index == 0 && request.spec.prompt_top_logprobs && position < request.prompt_tokens();
  if (!IsDrawn(request, choice, position) || scores_prompt || choice.hash) return std::nullopt;
  return WantedToken{
      .choice = &choice.sampling, .top_logprobs = request.spec.top_logprobs, .mask = {}};
}

// The first fault is the request's.
void EngineLoop::TakeToken(const StepEntry& entry, absl::StatusOr<DrawnToken> token) {
  if (token.ok()) {
    entry.choice->drawn = *std::move(token);
  } else {
    entry.request->failure.Update(token.status());
  }
}

// The row at position i says how likely prompt token i + 1 was; of token 0 nothing is known.
void EngineLoop::TakePromptRow(Request& request, Choice& choice, int64_t position,
                               std::span<const float> logits) {
  const std::vector<uint32_t>& prompt = request.spec.prompt;
  const auto send = [&](std::optional<TokenLogprobs> logprobs) {
    TokenEvent event;
    event.kind = TokenEvent::Kind::kPrompt;
    event.token = prompt[request.prompt_events++];
    event.logprobs = std::move(logprobs);
    Send(request, std::move(event));
  };
  if (request.prompt_events == 0) send(std::nullopt);
  const auto next = static_cast<size_t>(position) + 1;
  if (next != request.prompt_events || next >= prompt.size()) return;
  if (choice.hash && request.spec.max_tokens == 0) choice.hash->AddRow(logits);
  send(RawLogprobs(logits, prompt[next], *request.spec.prompt_top_logprobs));
}

void EngineLoop::Deliver(const StepEntry& entry) {
  if (entry.request == nullptr || entry.request->ended) return;
  Request& request = *entry.request;
  Choice& choice = *entry.choice;
  if (!request.failure.ok()) {
    EndRequest(request, request.failure);
    return;
  }
  const bool prompt_computed = entry.end_position >= request.prompt_tokens();
  request.prompt_computed |= prompt_computed;
  if (choice.drawn) {
    DeliverToken(request, choice);
  } else if (request.spec.max_tokens == 0 && prompt_computed) {
    FinishChoice(request, choice, EngineFinish::kLength, std::nullopt);
  }
}

void EngineLoop::DeliverToken(Request& request, Choice& choice) {
  const EngineRequest& spec = request.spec;
  const uint32_t token = choice.drawn->token;
  choice.sampling.Accept(token);
  TokenEvent event;
  event.kind = TokenEvent::Kind::kToken;
  event.choice = choice.index;
  event.token = token;
  event.logprobs = std::move(choice.drawn->logprobs);
  choice.drawn.reset();
  if (choice.hash) event.logits_hash = choice.hash->Digest();
  Send(request, std::move(event));
  if (choice.sampling.Ends(token)) {
    FinishChoice(request, choice, EngineFinish::kStop, token);
  } else if (choice.sampling.num_generated() == spec.max_tokens) {
    FinishChoice(request, choice, EngineFinish::kLength, std::nullopt);
  } else {
    scheduler_.Append(choice.sequence, token);
  }
}

void EngineLoop::PauseIfFull(Request& request, TimePoint now) {
  if (request.paused || request.ended || !request.queue.PauseIfFull()) return;
  request.paused = true;
  for (const auto& choice : request.choices) {
    if (!choice->over) scheduler_.SetPaused(choice->sequence, true, now);
  }
}

}  // namespace latentd
