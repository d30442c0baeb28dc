// How requests come and go.
#include <algorithm>
#include <tuple>
#include <utility>

#include "engine/engine_loop.h"
#include "kernels/core/check.h"

namespace latentd {
namespace {

double Seconds(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

absl::Status DeadlinePassed() {
  return absl::DeadlineExceededError("the request's deadline passed before it was done");
}

}  // namespace

bool EngineLoop::ReadMailbox() {
  mailbox_->Take(&mail_);
  const bool any = !mail_.submitted.empty() || !mail_.touched.empty() || !mail_.tasks.empty();
  for (std::shared_ptr<Request>& request : mail_.submitted) {
    adding_.push_back(request.get());
    live_.emplace(request.get(), std::move(request));
  }
  for (const std::shared_ptr<Request>& request : mail_.touched) {
    request->touched = false;  // before its flags are read: one raised later posts it again
    if (!request->ended) ReadFlags(*request);
  }
  for (const auto& task : mail_.tasks) task();
  mail_.submitted.clear();
  mail_.touched.clear();
  mail_.tasks.clear();
  return any;
}

void EngineLoop::ReadFlags(Request& request) {
  if (request.condemned) return;  // as in AddChoices
  if (request.cancel) {
    EndRequest(request, absl::CancelledError("the caller cancelled the request"));
    return;
  }
  if (request.resume.exchange(false) && request.paused) {
    request.paused = false;
    for (const auto& choice : request.choices) {
      if (!choice->over) scheduler_.SetPaused(choice->sequence, false, now_);
    }
  }
  for (const auto& choice : request.choices) {
    if (!choice->over && request.leave[choice->index].load(std::memory_order_acquire)) {
      Leave(request, *choice);
    }
  }
}

bool EngineLoop::AddChoices() {
  bool ended = false, full = false;
  adding_now_.swap(adding_);
  for (Request* request : adding_now_) {
    // What CancelAll condemned it ends itself, with its own status, in a task still to come.
    if (request->ended || request->condemned) continue;
    if (request->spec.deadline && *request->spec.deadline <= now_) {
      EndRequest(*request, DeadlinePassed());
    }
    const auto wants_more = [request] {
      const size_t added = request->choices.size();
      return !request->ended && added < request->spec.num_choices &&
             (added == 0 || request->prompt_computed || request->choices[0]->over);
    };
    while (!full && wants_more()) full = !AddChoice(*request);
    ended |= request->ended;
    if (!request->ended && request->choices.size() < request->spec.num_choices) {
      adding_.push_back(request);
    }
  }
  adding_now_.clear();
  return ended;
}

SequenceId EngineLoop::NewSequence() {
  if (free_ids_.empty()) {
    sequences_.emplace_back();
    return sequences_.size() - 1;
  }
  const SequenceId id = free_ids_.back();
  free_ids_.pop_back();
  return id;
}

void EngineLoop::DropSequence(SequenceId id) {
  scheduler_.Finish(id);
  sequences_[id] = {};
  free_ids_.push_back(id);
}

bool EngineLoop::AddChoice(Request& request) {
  const EngineRequest& spec = request.spec;
  const auto index = static_cast<uint32_t>(request.choices.size());
  const bool left = request.leave[index].load(std::memory_order_acquire);
  if (!left && scheduler_.full()) return false;
  const SequenceId id = NewSequence();
  auto choice =
      std::make_unique<Choice>(spec, index, id, executor_->vocab_size(), options_.backend);
  if (left) {
    request.choices.push_back(std::move(choice));
    Leave(request, *request.choices.back());
    return true;
  }
  SequenceSpec sequence;
  sequence.id = id;
  sequence.prompt = spec.prompt;
  sequence.max_new_tokens = spec.max_tokens;
  const bool wants_prompt_rows = index == 0 && spec.prompt_top_logprobs.has_value();
  sequence.first_logits_position = wants_prompt_rows ? 0 : request.prompt_tokens() - 1;
  if (spec.width_by_policy && request.width_kv == 0 && index > 0 &&
      !options_.scheduler.width_ladder.empty()) {
    // The first choice left before it was planned: the others settle it among themselves.
    std::tie(request.width_q, request.width_kv) = scheduler_.PolicyWidth();
  }
  sequence.width_by_policy = spec.width_by_policy && request.width_kv == 0;
  sequence.width_q = sequence.width_by_policy ? spec.width_q : request.width_q;
  sequence.width_kv = sequence.width_by_policy ? spec.width_kv : request.width_kv;
  sequence.priority = spec.priority;
  sequence.arrival = request.submitted;
  sequence.deadline = spec.deadline;
  sequence.cancelled = &request.leave[index];
  std::copy_n(spec.tenant_salt, 2, sequence.tenant_salt);
  if (absl::Status status = scheduler_.Add(std::move(sequence)); !status.ok()) {
    DropSequence(id);
    EndRequest(request, std::move(status));
    return true;
  }
  if (request.paused) scheduler_.SetPaused(id, true, now_);
  sequences_[id] = {&request, choice.get(), request.prompt_tokens(), false};
  request.choices.push_back(std::move(choice));
  return true;
}

bool EngineLoop::EndDropped(const StepPlan& plan) {
  const auto end = [this](SequenceId id, absl::Status status) {
    // A choice of a request that another one has ended is no longer known.
    Request* const request = sequences_[id].request;
    if (request != nullptr) EndRequest(*request, std::move(status));
  };
  for (const SequenceId id : plan.expired) end(id, DeadlinePassed());
  for (const SequenceId id : plan.stalled) {
    end(id, absl::CancelledError("the response was not read for too long"));
  }
  return !plan.expired.empty() || !plan.stalled.empty();
}

void EngineLoop::Leave(Request& request, Choice& choice) {
  choice.over = true;
  DropSequence(choice.sequence);
  if (++request.num_over == request.spec.num_choices) EndRequest(request, absl::OkStatus());
}

void EngineLoop::FinishChoice(Request& request, Choice& choice, EngineFinish finish,
                              std::optional<uint32_t> matched_token) {
  TokenEvent event;
  event.kind = TokenEvent::Kind::kFinish;
  event.choice = choice.index;
  event.finish = finish;
  event.matched_token = matched_token;
  if (choice.hash) event.logits_hash = choice.hash->Digest();
  Send(request, std::move(event));
  Leave(request, choice);
}

void EngineLoop::EndRequest(Request& request, absl::Status status) {
  LATENTD_CHECK(!request.ended);
  for (const auto& choice : request.choices) {
    if (!choice->over) DropSequence(choice->sequence);
  }
  const auto it = live_.find(&request);
  gone_.push_back(std::move(it->second));
  live_.erase(it);
  std::erase(adding_, &request);
  request.ended = true;
  admissions_.End(&request, request.first_planned.has_value());
  TokenEvent event;
  event.kind = TokenEvent::Kind::kEnd;
  event.status = std::move(status);
  event.queue_seconds = Seconds(request.submitted, request.first_planned.value_or(now_));
  event.cached_prompt_tokens = request.cached_prompt_tokens;
  Send(request, std::move(event));
}

}  // namespace latentd
