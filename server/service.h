// What both doors call: validate → template and tokenize → engine → messages. The doors only
// translate.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

class ChatTemplate;
class Metrics;
class Tokenizer;
struct Model;

// What a door knows about a call beside its message.
struct CallContext {
  std::optional<TimePoint> deadline;  // the gRPC deadline, or HTTP's timeout
  TimePoint received;                 // for time to first token
  std::string key_id;                 // of the API key, "" without; default tenant salt
  // Whether nobody waits for the result any more, so that it need not be begun. Any thread, before
  // the result is given; empty: never.
  std::function<bool()> left = {};
  bool chat_defaults = false;  // max_tokens defaults to the rest of the context
  bool prompt_list = false;    // errors of a prompt name it prompt[i]
};

// The response side of one Generate or Score call. One consumer. Dropping the last reference
// cancels.
template <typename Message>
class MessageStream {
 public:
  virtual ~MessageStream() = default;
  struct Item {
    std::optional<Message> message;  // the next message …
    std::optional<absl::Status>
        ended;  // … or the end: OK, or the error to show (ForCaller already applied)
  };
  // Neither field set: nothing yet. After `ended` it must not be called again.
  virtual Item TryNext() = 0;
  // Runs `wake` on any thread when TryNext may have something after it had nothing; at once if it
  // may already. It stays set. Cheap, no call back into the stream. So a reader calls TryNext until
  // it has nothing, and again at each wake.
  virtual void SetWake(std::function<void()> wake) = 0;
  // The caller left: `ended` with CANCELLED follows, unless the end was already under way. Any
  // thread, idempotent.
  virtual void Cancel() = 0;
};
using GenerateStream = MessageStream<v1::GenerateResponse>;
using ScoreStream = MessageStream<v1::ScoreResponse>;

// Borrowed; outlive the service.
struct ServiceParts {
  const Model* model = nullptr;
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: the model has none
  Engine* engine = nullptr;
  Metrics* metrics = nullptr;
  Clock* clock = nullptr;
  std::string model_id;  // --served-model-name
  std::string version;   // of the program
  std::string backend;   // kernel path, "cpu avx512-bf16"
  std::string determinism = "strict";
  int64_t max_context = 0;  // served: min(model, --max-model-len, pool)
  int64_t cache_bytes_per_token = 0;
  std::optional<v1::Width> default_width;  // of requests that name none; valid. Absent: full
  bool width_by_policy = false;            // the engine has a width ladder
  // Templates and tokenization. Two: one for all, one that long prompts cannot hold. A thread makes
  // tokens far faster than the engine takes them, and a long prompt costs memory while it is cut.
  int preprocess_threads = 2;
  uint64_t max_pending_bytes = 256u << 20;  // bodies waiting for or in preprocessing
  // Seeds of requests that bring none. Empty: the system's randomness. Any thread.
  std::function<uint64_t()> random_seed;
};

// Thread-safe. Every method returns at once; callbacks run once each, on a preprocessing thread, or
// on the caller when the answer is known at once. Refusals are counted here (Metrics::Refused), not
// by the doors. Every status given out is fit for the caller. Streams may outlive the service, but
// not what ServiceParts borrows.
//
// What a Generate stream says beside latentd.proto:
// - echo: every choice opens with messages that hold the prompt's text and token ids and nothing
//   else; prompt_logprobs come once, on choice 0, after them and before any generated token. With
//   echo, logprobs.top asks for them, too; the alternatives are then the larger of top and
//   prompt_top.
// - Tokens may come before their text (a stop string or a character may still be open).
// - A choice's last message holds finish_reason; the last of all also usage and timing.
class Service {
 public:
  static std::unique_ptr<Service> Create(const ServiceParts& parts);
  virtual ~Service() = default;

  template <typename T>
  using Callback = std::function<void(absl::StatusOr<T>)>;

  virtual void Generate(v1::GenerateRequest request, CallContext context,
                        Callback<std::shared_ptr<GenerateStream>> done) = 0;
  // A list of prompts, >= 1, as one: all are prepared before the first is started, and then all are
  // started or none. A list that is refused counts as one refused request. Streams in order.
  virtual void GenerateAll(std::vector<v1::GenerateRequest> requests, CallContext context,
                           Callback<std::vector<std::shared_ptr<GenerateStream>>> done) = 0;
  virtual void Score(v1::ScoreRequest request, CallContext context,
                     Callback<std::shared_ptr<ScoreStream>> done) = 0;
  virtual void Tokenize(v1::TokenizeRequest request, CallContext context,
                        Callback<v1::TokenizeResponse> done) = 0;
  virtual void Detokenize(v1::DetokenizeRequest request, Callback<v1::DetokenizeResponse> done) = 0;
  virtual v1::ListModelsResponse ListModels() const = 0;
  virtual absl::StatusOr<v1::Model> GetModel(std::string_view id) const = 0;

  virtual v1::Status GetStatus() const = 0;
  virtual v1::CacheStats GetCacheStats() const = 0;
  virtual v1::FlushCacheResponse FlushCache(const v1::FlushCacheRequest& request) = 0;

  // Refuses new work from now on, with "drain" in the message. One-way, idempotent.
  virtual void Drain() = 0;
  virtual bool draining() const = 0;
  // Progress of layers while work exists, for liveness: false when the engine stands still.
  virtual bool live() const = 0;
  // Requests being prepared, computed, or not yet read to their end.
  virtual int64_t InFlight() const = 0;
  // `callback` runs on any thread, perhaps more than once, when InFlight() may have become 0 after
  // Drain. One callback; it must not call the service.
  virtual void OnDrained(std::function<void()> callback) = 0;
  // Ends every running request with the status of a drain whose time is over.
  virtual void CutOff() = 0;
};

}  // namespace latentd
