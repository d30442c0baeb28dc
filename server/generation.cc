#include "server/generation.h"

#include <algorithm>
#include <utility>

#include "kernels/core/check.h"
#include "server/errors.h"
#include "server/token_logprobs.h"

namespace latentd {
namespace {

constexpr size_t kEchoIds = 32u << 10;  // per message: at most 5 bytes each

class Generation final : public GenerateStream {
 public:
  Generation(GenerationSpec spec, std::shared_ptr<TokenStream> tokens, const Tokenizer* tokenizer,
             std::unique_ptr<RequestMeter> meter, std::shared_ptr<void> done)
      : spec_(std::move(spec)),
        tokens_(std::move(tokens)),
        tokenizer_(tokenizer),
        meter_(std::move(meter)),
        done_(std::move(done)),
        echo_choice_(spec_.echo_ids.empty() ? spec_.num_choices : 0),
        open_choices_(spec_.num_choices) {
    choices_.reserve(spec_.num_choices);
    for (uint32_t i = 0; i < spec_.num_choices; ++i) choices_.emplace_back(tokenizer_, spec_);
  }

  Item TryNext() override {
    LATENTD_CHECK(!over_);
    if (echo_choice_ < spec_.num_choices) {
      if (!LearnWidth()) return {};
      return Emit(NextEcho());
    }
    while (!end_) {
      std::optional<TokenEvent> event =
          held_ ? std::exchange(held_, std::nullopt) : tokens_->TryPop();
      if (!event) break;
      if (Ignored(*event)) continue;
      if (message_ && !Joins(*event)) {
        held_ = std::move(event);
        return EmitMessage();
      }
      SetWidth(*event);
      Apply(*event);
      if (message_ && open_choices_ > 0 && (choice_finished_ || bytes_ >= kMessageBytes)) {
        return EmitMessage();
      }
    }
    if (end_) return End();
    // The last message waits for the end of the request, which brings usage and timing.
    if (message_ && open_choices_ > 0) return EmitMessage();
    return {};
  }

  void SetWake(std::function<void()> wake) override {
    const bool ready = (echo_choice_ < spec_.num_choices && width_known_) || held_ || end_;
    tokens_->SetWake(wake);
    if (ready) wake();
  }

  void Cancel() override { tokens_->Cancel(); }

 private:
  // The first message names the width, which a policy settles when the request is first planned.
  bool LearnWidth() {
    if (width_known_) return true;
    held_ = tokens_->TryPop();
    if (!held_) return false;
    SetWidth(*held_);
    return width_known_ = true;
  }

  void SetWidth(const TokenEvent& event) {
    if (event.width_kv == 0) return;
    width_.set_q(static_cast<uint32_t>(event.width_q));
    width_.set_kv(static_cast<uint32_t>(event.width_kv));
  }

  struct Choice {
    Choice(const Tokenizer* tokenizer, const GenerationSpec& spec)
        : output(tokenizer, &spec.output) {}
    ChoiceOutput output;
    bool finished = false;
  };

  // The next piece of the echoed prompt, of one choice after the other.
  v1::GenerateResponse NextEcho() {
    v1::GenerateResponse message;
    message.set_choice(echo_choice_);
    const std::string_view text = std::string_view(spec_.echo_text).substr(echo_text_pos_);
    const size_t bytes = WholeCharacters(text, kMessageBytes);
    message.set_text(std::string(text.substr(0, bytes)));
    echo_text_pos_ += bytes;
    const size_t ids = std::min(kEchoIds, spec_.echo_ids.size() - echo_ids_pos_);
    const auto first = spec_.echo_ids.begin() + static_cast<std::ptrdiff_t>(echo_ids_pos_);
    message.mutable_token_ids()->Add(first, first + static_cast<std::ptrdiff_t>(ids));
    echo_ids_pos_ += ids;
    if (echo_text_pos_ == spec_.echo_text.size() && echo_ids_pos_ == spec_.echo_ids.size()) {
      ++echo_choice_;
      echo_text_pos_ = echo_ids_pos_ = 0;
    }
    return message;
  }

  // Events that were under way when a stop string ended their choice.
  bool Ignored(const TokenEvent& event) const {
    return event.kind != TokenEvent::Kind::kEnd && choices_.at(event.choice).finished;
  }

  // A message is of one choice, and the prompt's logprobs have theirs to themselves.
  bool Joins(const TokenEvent& event) const {
    if (event.kind == TokenEvent::Kind::kEnd) return true;
    if (event.kind == TokenEvent::Kind::kToken && !message_->prompt_logprobs().empty()) {
      return false;
    }
    return event.choice == message_->choice();
  }

  void Apply(const TokenEvent& event) {
    if (event.kind != TokenEvent::Kind::kEnd && !message_) {
      message_.emplace();
      message_->set_choice(event.choice);
    }
    switch (event.kind) {
      case TokenEvent::Kind::kPrompt:
        return ApplyPrompt(event);
      case TokenEvent::Kind::kToken:
        return ApplyToken(event);
      case TokenEvent::Kind::kFinish:
        return ApplyFinish(event);
      case TokenEvent::Kind::kEnd:
        end_ = event;
        return;
    }
  }

  void ApplyPrompt(const TokenEvent& event) { AddLogprob(event, message_->add_prompt_logprobs()); }

  void ApplyToken(const TokenEvent& event) {
    meter_->Token(event.choice);
    message_->add_token_ids(event.token);
    if (spec_.logprobs) AddLogprob(event, message_->add_logprobs());
    const size_t before = message_->text().size();
    const std::optional<size_t> stop =
        choices_[event.choice].output.Push(event.token, message_->mutable_text());
    bytes_ += message_->text().size() - before + 8;
    if (!stop) return;
    FinishChoice(event.choice, v1::FINISH_REASON_STOP, stop);
    SetHash(event);
    tokens_->FinishChoice(event.choice);
  }

  void ApplyFinish(const TokenEvent& event) {
    const std::optional<size_t> stop =
        choices_[event.choice].output.Finish(message_->mutable_text());
    FinishChoice(event.choice,
                 stop || event.finish == EngineFinish::kStop ? v1::FINISH_REASON_STOP
                                                             : v1::FINISH_REASON_LENGTH,
                 stop);
    if (!stop && event.matched_token) message_->set_matched_token_id(*event.matched_token);
    SetHash(event);
  }

  void SetHash(const TokenEvent& event) {
    if (!event.logits_hash) return;
    message_->set_logits_hash(event.logits_hash->data(), event.logits_hash->size());
  }

  void FinishChoice(uint32_t choice, v1::FinishReason reason, std::optional<size_t> stop) {
    message_->set_finish_reason(reason);
    if (stop) message_->set_matched_stop(spec_.output.stops.at(*stop));
    last_reason_ = reason;
    choices_[choice].finished = true;
    choice_finished_ = true;
    --open_choices_;
  }

  void AddLogprob(const TokenEvent& event, v1::TokenLogprob* out) {
    FillTokenLogprob(*tokenizer_, event.token, event.logprobs ? &*event.logprobs : nullptr, out);
    bytes_ += out->ByteSizeLong() + 8;
  }

  Item EmitMessage() {
    choice_finished_ = false;
    bytes_ = 0;
    return Emit(*std::exchange(message_, std::nullopt));
  }

  Item Emit(v1::GenerateResponse message) {
    message.set_request_id(spec_.request_id);
    if (!std::exchange(width_sent_, true)) *message.mutable_width() = width_;
    Item item;
    item.message = std::move(message);
    return item;
  }

  // The request is over: what is left of it, then its end.
  Item End() {
    const bool complete = open_choices_ == 0;
    if (message_) {
      if (complete) AddTotals(&*message_);
      return EmitMessage();
    }
    over_ = true;
    absl::Status status = end_->status;
    if (complete) {
      status = absl::OkStatus();  // nothing is missing, whatever happened afterwards
    } else if (status.ok()) {
      status = absl::InternalError("the engine ended a request before its choices");
    }
    meter_->End(complete ? (last_reason_ == v1::FINISH_REASON_LENGTH ? "length" : "stop")
                         : ReasonOf(status),
                end_->queue_seconds);
    done_.reset();
    Item item;
    item.ended = ForCaller(status);
    return item;
  }

  void AddTotals(v1::GenerateResponse* message) {
    meter_->PromptDone();
    v1::Usage* usage = message->mutable_usage();
    usage->set_prompt_tokens(static_cast<uint32_t>(meter_->prompt_tokens()));
    usage->set_completion_tokens(static_cast<uint32_t>(meter_->generated_tokens()));
    usage->set_cached_prompt_tokens(end_->cached_prompt_tokens);
    *message->mutable_timing() = meter_->timing(end_->queue_seconds);
  }

  const GenerationSpec spec_;
  const std::shared_ptr<TokenStream> tokens_;
  const Tokenizer* const tokenizer_;
  const std::unique_ptr<RequestMeter> meter_;
  std::shared_ptr<void> done_;
  std::vector<Choice> choices_;
  // Where the echo is; echo_choice_ == num_choices: done.
  uint32_t echo_choice_;
  size_t echo_text_pos_ = 0, echo_ids_pos_ = 0;
  std::optional<v1::GenerateResponse> message_;  // being filled
  size_t bytes_ = 0;                             // about its size
  bool choice_finished_ = false;                 // message_ ends its choice
  std::optional<TokenEvent> held_;               // popped, belongs to the next message
  std::optional<TokenEvent> end_;
  uint32_t open_choices_;
  v1::FinishReason last_reason_ = v1::FINISH_REASON_UNSPECIFIED;
  v1::Width width_ = spec_.width;
  bool width_known_ = !spec_.width_by_policy, width_sent_ = false;
  bool over_ = false;
};

}  // namespace

size_t WholeCharacters(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text.size();
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return end;
}

std::shared_ptr<GenerateStream> MakeGenerateStream(GenerationSpec spec,
                                                   std::shared_ptr<TokenStream> tokens,
                                                   const Tokenizer* tokenizer,
                                                   std::unique_ptr<RequestMeter> meter,
                                                   std::shared_ptr<void> done) {
  return std::make_shared<Generation>(std::move(spec), std::move(tokens), tokenizer,
                                      std::move(meter), std::move(done));
}

}  // namespace latentd
