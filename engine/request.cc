#include "engine/request.h"

#include <utility>

#include "engine/mailbox.h"

namespace latentd {
namespace {

std::vector<uint32_t> EndingTokens(const EngineRequest& request) {
  std::vector<uint32_t> tokens = request.eos_token_ids;
  tokens.insert(tokens.end(), request.stop_token_ids.begin(), request.stop_token_ids.end());
  return tokens;
}

}  // namespace

Choice::Choice(const EngineRequest& request, uint32_t index, SequenceId sequence,
               int64_t vocab_size, std::string_view backend)
    : index(index),
      sequence(sequence),
      sampling(request.sampling, index, request.prompt, request.min_tokens, EndingTokens(request),
               vocab_size) {
  if (request.logits_hash) hash.emplace(backend);
}

Request::Request(EngineRequest spec, TimePoint submitted, size_t queue_events,
                 std::shared_ptr<Mailbox> mailbox)
    : spec(std::move(spec)),
      submitted(submitted),
      queue(queue_events),
      mailbox(std::move(mailbox)),
      leave(std::make_unique<std::atomic<bool>[]>(this->spec.num_choices)),
      width_q(this->spec.width_by_policy ? 0 : this->spec.width_q),
      width_kv(this->spec.width_by_policy ? 0 : this->spec.width_kv) {}

void Request::RaiseAllFlags() {
  for (uint32_t i = 0; i < spec.num_choices; ++i) leave[i].store(true, std::memory_order_release);
}

RequestStream::RequestStream(std::shared_ptr<Request> request)
    : request_(std::move(request)), finished_(request_->spec.num_choices) {}

RequestStream::~RequestStream() {
  request_->queue.SetWake(nullptr);
  Cancel();
}

std::optional<TokenEvent> RequestStream::TryPop() {
  for (;;) {
    bool fell = false;
    std::optional<TokenEvent> event = request_->queue.TryPop(&fell);
    if (fell) {
      request_->resume = true;
      Touch();
    }
    if (!event || !Dropped(*event)) return event;
  }
}

// Queued before FinishChoice, or while the engine thread had not yet seen it.
bool RequestStream::Dropped(const TokenEvent& event) const {
  const bool of_choice =
      event.kind == TokenEvent::Kind::kToken || event.kind == TokenEvent::Kind::kFinish;
  return of_choice && finished_[event.choice];
}

void RequestStream::SetWake(std::function<void()> wake) {
  request_->queue.SetWake(std::move(wake));
}

void RequestStream::FinishChoice(uint32_t choice) {
  if (choice >= request_->spec.num_choices) return;
  finished_[choice] = true;
  request_->leave[choice].store(true, std::memory_order_release);
  Touch();
}

void RequestStream::Cancel() {
  request_->cancel = true;
  request_->RaiseAllFlags();
  Touch();
}

void RequestStream::Touch() {
  if (request_->ended || request_->touched.exchange(true)) return;
  request_->mailbox->Touch(request_);
}

}  // namespace latentd
