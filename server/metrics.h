// Prometheus metrics under vLLM's names, and ours under latentd_ (interfaces.md, "Metrics").
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine.h"

namespace latentd {

// Why a request was refused: the label of latentd_requests_refused_total. Each refusal is counted
// once, by the one who made it: the Service counts what it answers, a door what it turns away
// itself (syntax, size, method).
enum class Refusal { kInvalid, kNotFound, kFull, kDraining, kTooLarge, kDeadline, kOther };

// One finished request (not choice); refused ones are never reported here.
struct RequestRecord {
  std::string_view finished_reason;  // "stop", "length", "abort", "error"
  uint64_t prompt_tokens = 0, generation_tokens = 0;
  double e2e_seconds = 0, queue_seconds = 0;
};

// Thread-safe.
class Metrics {
 public:
  // model_name labels every series. Gauges are read from `stats` at each exposition. cache_config:
  // "name=value,name=value", the labels of vllm:cache_config_info (block_size, num_gpu_blocks, …).
  static std::unique_ptr<Metrics> Create(std::string model_name, std::string cache_config,
                                         std::function<EngineStats()> stats);
  virtual ~Metrics() = default;
  virtual void RequestDone(const RequestRecord& record) = 0;
  virtual void Refused(Refusal reason) = 0;
  // Tokens as they are read (prompt, once it is computed) and generated, so that the counters move
  // while a request runs.
  virtual void Tokens(uint64_t prompt, uint64_t generated) = 0;
  // Receipt to first token, of a request.
  virtual void TimeToFirstToken(double seconds) = 0;
  // Between two tokens of a choice.
  virtual void InterTokenLatency(double seconds) = 0;
  virtual void Step(const StepReport& report) = 0;  // a completed step; cheap
  virtual std::string Exposition() = 0;             // text format 0.0.4
};

// What a status that refuses a request counts as.
Refusal RefusalOf(const absl::Status& status);

}  // namespace latentd
