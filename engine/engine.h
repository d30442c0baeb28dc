// The engine: token ids in, token events out. One thread owns scheduler, cache and device; every
// other thread posts messages and never takes its locks.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/sampling/logits_hash.h"
#include "engine/sampling/logprobs.h"
#include "engine/sampling/params.h"
#include "engine/scheduler/scheduler.h"

namespace latentd {

class BlockPool;
class Executor;

// Time, replaceable in tests.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint Now() = 0;
  static Clock* Steady();
};

struct EngineRequest {
  std::vector<uint32_t> prompt;  // >= 1 token, ids < vocab
  uint32_t num_choices = 1;
  uint32_t max_tokens = 16;                     // per choice; 0: nothing is generated
  uint32_t min_tokens = 0;                      // eos and stop tokens are masked before
  std::vector<uint32_t> eos_token_ids;          // of the model; empty with ignore_eos
  std::vector<uint32_t> stop_token_ids;         // of the request
  std::optional<uint32_t> top_logprobs;         // per generated token: 0…kMaxTopLogprobs
  std::optional<uint32_t> prompt_top_logprobs;  // per prompt token
  bool logits_hash = false;
  SamplingParams sampling;
  int64_t width_q = 0, width_kv = 0;  // ranks; 0: full
  bool width_by_policy = false;       // SchedulerOptions::width_ladder decides instead
  int32_t priority = 0;
  std::optional<TimePoint> deadline;
  uint64_t tenant_salt[2] = {0, 0};
};

enum class EngineFinish : uint8_t { kStop, kLength };

// Owns nothing outside itself but the text of a failed status: passing one on takes no heap.
struct TokenEvent {
  enum class Kind : uint8_t {
    kPrompt,  // one per prompt token, in order, before any kToken (prompt_top_logprobs only; choice
              // 0)
    kToken,   // one generated token. A stop token that ends the choice comes as kToken too, then
              // kFinish
    kFinish,  // the choice is over
    kEnd,     // the request is over: last event; status says how
  };
  Kind kind = Kind::kToken;
  uint32_t choice = 0;
  uint32_t token = 0;
  std::optional<TokenLogprobs> logprobs;      // absent for the first prompt token
  EngineFinish finish = EngineFinish::kStop;  // kFinish
  std::optional<uint32_t> matched_token;      // kFinish: the eos or stop token that ended it
  // kToken and kFinish, when asked for: over every row up to the one this token was drawn
  // from, so that a choice that ends at a stop string has a hash of its own too. Of a request that
  // generates nothing: over the rows that scored a prompt token.
  std::optional<LogitsDigest> logits_hash;
  int64_t width_q = 0, width_kv = 0;  // ranks that the request runs at; 0 until it is planned
  absl::Status status;                // kEnd: OK, CANCELLED, DEADLINE_EXCEEDED, INTERNAL …
  double queue_seconds = 0;           // kEnd: submission → first planned
  uint32_t cached_prompt_tokens = 0;  // kEnd
};

// The reader's end of one request: a bounded queue filled by the engine thread. One consumer.
// When the reader does not drain it, only this request pauses. Dropping the last reference cancels.
class TokenStream {
 public:
  virtual ~TokenStream() = default;
  // The next event, or nothing yet. After kEnd it returns nothing for ever.
  virtual std::optional<TokenEvent> TryPop() = 0;
  // `wake` runs (on any thread, without locks held) when the queue has become non-empty: once the
  // events of the same step are there too, or at once if it is. It must be cheap and must not call
  // back into the stream. A replaced `wake` may still run for a while on another thread: it owns
  // what it touches.
  virtual void SetWake(std::function<void()> wake) = 0;
  // A stop string ended this choice: it is never planned again and sends no further events, not
  // even kFinish.
  virtual void FinishChoice(uint32_t choice) = 0;
  // The caller left. Idempotent; kEnd with CANCELLED follows.
  virtual void Cancel() = 0;
};

// One completed step, for metrics. Called on the engine thread.
struct StepReport {
  int64_t num_entries = 0, decode_tokens = 0, prefill_tokens = 0;
  double seconds = 0;
  uint64_t preemptions = 0;  // since the last report
};

struct EngineOptions {
  SchedulerOptions scheduler;
  int64_t max_waiting_requests = 256;  // waiting requests; more are refused with RESOURCE_EXHAUSTED
  int64_t max_waiting_tokens = 0;      // prompt tokens waiting; 0: four times the pool's capacity
  // Per request: pause from here on, resume below half. One step's events come on top.
  size_t queue_events = 256;
  std::string backend;  // the kernel path, for example "cpu-avx2"; keys the logits hash
  std::function<void(const StepReport&)> on_step;  // may be empty
  // The executor's count of finished layers, for EngineStats::layers_done. Any thread. Empty: steps
  // are counted instead.
  std::function<uint64_t()> layers_done;
};

// Blocks of one width class.
struct ClassStats {
  int64_t row_latent = 0;            // r_w, lanes
  int64_t in_use = 0, reusable = 0;  // held by sequences; kept prefixes that none holds
};

struct EngineStats {
  int64_t requests_running = 0, requests_waiting = 0;
  int64_t sequences_running = 0, sequences_waiting = 0;
  uint64_t steps = 0, preemptions = 0;
  uint64_t prefix_queries = 0, prefix_hits = 0;
  uint64_t pages_total = 0, pages_free = 0, bytes_per_page = 0;
  // At full width: a narrower block counts as its share of a page, so that in use and reusable are
  // shares of the capacity.
  uint64_t tokens_capacity = 0, tokens_in_use = 0, tokens_reusable = 0;
  std::vector<ClassStats> blocks;  // widest class first
  uint64_t layers_done = 0;        // progress for liveness: moves while work exists
  CostModel cost;                  // what steps are planned by now
  double cost_factor = 1;          // its tokens and positions to what was measured at start
};

// Thread-safe. The destructor cancels what is left and joins the engine thread.
class Engine {
 public:
  virtual ~Engine() = default;
  // Starts the engine thread. Borrows executor, pool and clock, which outlive the engine.
  static std::unique_ptr<Engine> Start(const EngineOptions& options, Executor* executor,
                                       BlockPool* pool, Clock* clock);

  // INVALID_ARGUMENT: can never fit, with the numbers. RESOURCE_EXHAUSTED: full. UNAVAILABLE:
  // draining.
  virtual absl::StatusOr<std::shared_ptr<TokenStream>> Submit(EngineRequest request) = 0;
  // RESOURCE_EXHAUSTED, with the cause, when a request arriving now would be refused as full: asked
  // before tokenizing.
  virtual absl::Status CheckRoom() const = 0;
  virtual EngineStats Stats() const = 0;
  virtual uint64_t FlushCache(const uint64_t* tenant_salt) = 0;  // waits for the engine thread
  // No new work from now on; one-way.
  virtual void Drain() = 0;
  // Requests not yet ended.
  virtual int64_t InFlight() const = 0;
  // Runs (on the engine thread) when draining and the last request has ended.
  virtual void OnDrained(std::function<void()> callback) = 0;
  // Ends every request with this status.
  virtual void CancelAll(absl::Status status) = 0;
};

}  // namespace latentd
