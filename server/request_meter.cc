#include "server/request_meter.h"

#include <chrono>

#include "kernels/core/check.h"
#include "server/metrics.h"

namespace latentd {
namespace {

double Seconds(TimePoint from, TimePoint to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

RequestMeter::RequestMeter(Metrics* metrics, Clock* clock, TimePoint received,
                           uint64_t prompt_tokens, uint32_t num_choices)
    : metrics_(metrics),
      clock_(clock),
      received_(received),
      prompt_tokens_(prompt_tokens),
      last_token_(num_choices) {}

RequestMeter::~RequestMeter() {
  if (!ended_) End("abort", 0);
}

void RequestMeter::PromptDone() {
  if (prompt_done_) return;
  prompt_done_ = true;
  metrics_->Tokens(prompt_tokens_, 0);
}

void RequestMeter::Token(uint32_t choice) {
  PromptDone();
  ++generated_tokens_;
  metrics_->Tokens(0, 1);
  const TimePoint now = clock_->Now();
  if (!first_token_seconds_) {
    first_token_seconds_ = Seconds(received_, now);
    metrics_->TimeToFirstToken(*first_token_seconds_);
  }
  std::optional<TimePoint>& last = last_token_.at(choice);
  if (last) metrics_->InterTokenLatency(Seconds(*last, now));
  last = now;
}

void RequestMeter::End(const char* reason, double queue_seconds) {
  LATENTD_CHECK(!ended_);
  ended_ = true;
  RequestRecord record;
  record.finished_reason = reason;
  record.prompt_tokens = prompt_tokens_;
  record.generation_tokens = generated_tokens_;
  record.e2e_seconds = Seconds(received_, clock_->Now());
  record.queue_seconds = queue_seconds;
  metrics_->RequestDone(record);
}

v1::Timing RequestMeter::timing(double queue_seconds) const {
  v1::Timing timing;
  timing.set_queue_seconds(queue_seconds);
  timing.set_time_to_first_token_seconds(first_token_seconds_.value_or(0));
  timing.set_total_seconds(Seconds(received_, clock_->Now()));
  return timing;
}

const char* ReasonOf(const absl::Status& error) {
  switch (error.code()) {
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kUnavailable:
      return "abort";
    default:
      return "error";
  }
}

}  // namespace latentd
