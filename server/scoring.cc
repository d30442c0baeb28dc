#include "server/scoring.h"

#include <utility>

#include "kernels/core/check.h"
#include "server/errors.h"
#include "server/generation.h"
#include "server/token_logprobs.h"

namespace latentd {
namespace {

class Scoring final : public ScoreStream {
 public:
  Scoring(const v1::Width& width, std::shared_ptr<TokenStream> tokens, const Tokenizer* tokenizer,
          std::unique_ptr<RequestMeter> meter, std::shared_ptr<void> done)
      : tokens_(std::move(tokens)),
        tokenizer_(tokenizer),
        meter_(std::move(meter)),
        done_(std::move(done)) {
    *message_.mutable_width() = width;
  }

  Item TryNext() override {
    LATENTD_CHECK(state_ != State::kOver);
    if (state_ == State::kTotalsSent) return End(absl::OkStatus(), "length");
    while (std::optional<TokenEvent> event = tokens_->TryPop()) {
      if (message_.has_width() && event->width_kv != 0) {  // the first message, and planned
        message_.mutable_width()->set_q(static_cast<uint32_t>(event->width_q));
        message_.mutable_width()->set_kv(static_cast<uint32_t>(event->width_kv));
      }
      if (event->kind == TokenEvent::Kind::kPrompt) {
        AddToken(*event);
        if (bytes_ >= kMessageBytes) return EmitMessage();
      } else if (event->kind == TokenEvent::Kind::kFinish) {
        if (event->logits_hash) {
          message_.set_logits_hash(event->logits_hash->data(), event->logits_hash->size());
        }
      } else if (event->kind == TokenEvent::Kind::kEnd) {
        queue_seconds_ = event->queue_seconds;
        if (!event->status.ok()) return End(event->status, ReasonOf(event->status));
        message_.set_total_logprob(total_logprob_);
        message_.set_num_tokens(num_tokens_);
        meter_->PromptDone();
        state_ = State::kTotalsSent;
        return EmitMessage();
      }
    }
    return {};
  }

  void SetWake(std::function<void()> wake) override {
    tokens_->SetWake(wake);
    if (state_ == State::kTotalsSent) wake();
  }

  void Cancel() override { tokens_->Cancel(); }

 private:
  enum class State { kRunning, kTotalsSent, kOver };

  // The first token has no logprob and is left out.
  void AddToken(const TokenEvent& event) {
    if (!event.logprobs) return;
    v1::TokenLogprob* out = message_.add_logprobs();
    FillTokenLogprob(*tokenizer_, event.token, &*event.logprobs, out);
    bytes_ += out->ByteSizeLong() + 8;
    total_logprob_ += event.logprobs->chosen.logprob;
    ++num_tokens_;
  }

  Item EmitMessage() {
    bytes_ = 0;
    Item item;
    item.message = std::exchange(message_, v1::ScoreResponse());
    return item;
  }

  Item End(const absl::Status& status, const char* reason) {
    state_ = State::kOver;
    meter_->End(reason, queue_seconds_);
    done_.reset();
    Item item;
    item.ended = ForCaller(status);
    return item;
  }

  const std::shared_ptr<TokenStream> tokens_;
  const Tokenizer* const tokenizer_;
  const std::unique_ptr<RequestMeter> meter_;
  std::shared_ptr<void> done_;
  v1::ScoreResponse message_;  // being filled
  size_t bytes_ = 0;           // about its size
  double total_logprob_ = 0;   // summed in order of position
  uint32_t num_tokens_ = 0;    // scored
  double queue_seconds_ = 0;
  State state_ = State::kRunning;
};

}  // namespace

std::shared_ptr<ScoreStream> MakeScoreStream(const v1::Width& width,
                                             std::shared_ptr<TokenStream> tokens,
                                             const Tokenizer* tokenizer,
                                             std::unique_ptr<RequestMeter> meter,
                                             std::shared_ptr<void> done) {
  return std::make_shared<Scoring>(width, std::move(tokens), tokenizer, std::move(meter),
                                   std::move(done));
}

}  // namespace latentd
