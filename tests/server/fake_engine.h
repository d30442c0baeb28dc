// An engine whose events are written by the test, one by one.
#pragma once

#include <deque>
#include <mutex>
#include <utility>

#include "engine/engine.h"
#include "engine/model/loader.h"
#include "server/metrics.h"
#include "tests/server/byte_tokenizer.h"

namespace latentd::testing {

class FakeClock final : public Clock {
 public:
  TimePoint Now() override { return TimePoint(std::chrono::milliseconds(ms.load())); }
  std::atomic<int64_t> ms{1'000'000};
};

// The engine's end is Push and End; what the reader asked for is in `finished` and `cancelled`.
class FakeTokenStream final : public TokenStream {
 public:
  std::optional<TokenEvent> TryPop() override {
    const std::lock_guard lock(mutex_);
    if (events_.empty()) return std::nullopt;
    TokenEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  void SetWake(std::function<void()> wake) override {
    bool ready;
    {
      const std::lock_guard lock(mutex_);
      wake_ = wake;
      ready = !events_.empty();
    }
    if (ready) wake();
  }
  void FinishChoice(uint32_t choice) override { finished.push_back(choice); }
  void Cancel() override {
    if (cancelled.exchange(true)) return;
    End(absl::CancelledError("the caller left"));
    if (on_cancel) on_cancel();
  }

  void Push(TokenEvent event) {
    std::function<void()> wake;
    {
      const std::lock_guard lock(mutex_);
      if (events_.empty()) wake = wake_;
      events_.push_back(std::move(event));
    }
    if (wake) wake();
  }
  void Token(uint32_t token, uint32_t choice = 0) {
    TokenEvent event;
    event.token = token;
    event.choice = choice;
    Push(std::move(event));
  }
  void Text(std::string_view text, uint32_t choice = 0) {
    for (const uint32_t token : Bytes(text)) Token(token, choice);
  }
  // A token with its log-probability, as generated or as a prompt token.
  void Scored(TokenEvent::Kind kind, uint32_t token, float logprob,
              const std::vector<LogprobEntry>& top = {}) {
    TokenEvent event;
    event.kind = kind;
    event.token = token;
    TokenLogprobs& logprobs = event.logprobs.emplace();
    logprobs.chosen = {token, logprob, 1};
    logprobs.top.assign(top.begin(), top.end());
    Push(std::move(event));
  }
  void FirstPromptToken(uint32_t token) {
    TokenEvent event;
    event.kind = TokenEvent::Kind::kPrompt;
    event.token = token;
    Push(std::move(event));
  }
  void Finish(EngineFinish finish, uint32_t choice = 0,
              std::optional<uint32_t> matched = std::nullopt) {
    TokenEvent event;
    event.kind = TokenEvent::Kind::kFinish;
    event.choice = choice;
    event.finish = finish;
    event.matched_token = matched;
    Push(std::move(event));
  }
  void End(absl::Status status = absl::OkStatus(), double queue_seconds = 0.5,
           uint32_t cached = 0) {
    TokenEvent event;
    event.kind = TokenEvent::Kind::kEnd;
    event.status = std::move(status);
    event.queue_seconds = queue_seconds;
    event.cached_prompt_tokens = cached;
    Push(std::move(event));
  }

  std::vector<uint32_t> finished;
  std::atomic<bool> cancelled{false};
  std::function<void()> on_cancel;  // set before the stream is handed on

 private:
  std::mutex mutex_;
  std::deque<TokenEvent> events_;
  std::function<void()> wake_;
};

class FakeEngine final : public Engine {
 public:
  absl::StatusOr<std::shared_ptr<TokenStream>> Submit(EngineRequest request) override {
    requests.push_back(std::move(request));
    if (!submit_status.ok()) return submit_status;
    auto stream = std::make_shared<FakeTokenStream>();
    last = stream;
    if (on_submit) on_submit(stream);
    return std::shared_ptr<TokenStream>(stream);
  }
  absl::Status CheckRoom() const override { return room; }
  EngineStats Stats() const override { return stats; }
  uint64_t FlushCache(const uint64_t* salt) override {
    flushed = salt == nullptr ? std::vector<uint64_t>{} : std::vector<uint64_t>{salt[0], salt[1]};
    return 7;
  }
  void Drain() override { drained = true; }
  int64_t InFlight() const override { return in_flight; }
  void OnDrained(std::function<void()> callback) override { on_drained = std::move(callback); }
  void CancelAll(absl::Status status) override { cut_off = status; }

  std::vector<EngineRequest> requests;
  std::weak_ptr<FakeTokenStream> last;  // of the last Submit; the reader owns it
  std::function<void(std::shared_ptr<FakeTokenStream>)> on_submit;
  absl::Status submit_status;
  absl::Status room;  // for one more
  bool drained = false;
  std::function<void()> on_drained;
  EngineStats stats;
  int64_t in_flight = 0;
  absl::Status cut_off;
  std::vector<uint64_t> flushed;
};

// Counts what it is told.
class CountingMetrics final : public Metrics {
 public:
  void RequestDone(const RequestRecord& record) override {
    reasons.emplace_back(record.finished_reason);
    last = record;
  }
  void Refused(Refusal reason) override { refusals.push_back(reason); }
  void Tokens(uint64_t prompt, uint64_t generated) override {
    prompt_tokens += prompt;
    generated_tokens += generated;
  }
  void TimeToFirstToken(double seconds) override { first_token.push_back(seconds); }
  void InterTokenLatency(double seconds) override { gaps.push_back(seconds); }
  void Step(const StepReport&) override {}
  std::string Exposition() override { return ""; }

  std::vector<std::string> reasons;
  RequestRecord last;
  std::vector<Refusal> refusals;
  uint64_t prompt_tokens = 0, generated_tokens = 0;
  std::vector<double> first_token, gaps;
};

}  // namespace latentd::testing
