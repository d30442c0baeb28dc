// Times and counts of one running request, for metrics and the response's timing.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "engine/engine.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

class Metrics;

// Not thread-safe. Borrows metrics and clock. A request that is dropped before its end counts as
// aborted.
class RequestMeter {
 public:
  RequestMeter(Metrics* metrics, Clock* clock, TimePoint received, uint64_t prompt_tokens,
               uint32_t num_choices);
  ~RequestMeter();
  RequestMeter(const RequestMeter&) = delete;
  RequestMeter& operator=(const RequestMeter&) = delete;

  // The prompt is computed. Later calls do nothing.
  void PromptDone();
  // A generated token of `choice` arrived. Those after a stop string are not told.
  void Token(uint32_t choice);
  // The request is over; `reason` is a RequestRecord's. Once.
  void End(const char* reason, double queue_seconds);

  uint64_t prompt_tokens() const { return prompt_tokens_; }
  uint64_t generated_tokens() const { return generated_tokens_; }
  v1::Timing timing(double queue_seconds) const;

 private:
  Metrics* const metrics_;
  Clock* const clock_;
  const TimePoint received_;
  const uint64_t prompt_tokens_;
  uint64_t generated_tokens_ = 0;
  bool prompt_done_ = false;
  bool ended_ = false;
  std::optional<double> first_token_seconds_;
  std::vector<std::optional<TimePoint>> last_token_;  // by choice
};

// The RequestRecord reason of a request that ended with this error.
const char* ReasonOf(const absl::Status& error);

}  // namespace latentd
