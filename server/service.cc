#include "server/service.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "engine/model/loader.h"
#include "server/errors.h"
#include "server/liveness.h"
#include "server/metrics.h"
#include "server/model_info.h"
#include "server/preprocess_pool.h"
#include "server/request_starter.h"
#include "server/validate.h"

namespace latentd {
namespace {

// What a request costs while it waits, beside its bytes.
constexpr uint64_t kRequestOverheadBytes = 1024;
constexpr uint32_t kRetrySeconds = 1;

ServedModel Served(const ServiceParts& parts) {
  const ModelConfig& config = parts.model->config;
  ServedModel model;
  model.id = parts.model_id;
  model.vocab_size = static_cast<uint32_t>(config.vocab_size);
  model.max_context = parts.max_context;
  model.has_chat_template = parts.chat_template != nullptr;
  model.q_rank = config.q_lora_rank;
  model.kv_rank = config.kv_lora_rank;
  model.elastic = config.elastic;
  model.width_by_policy = parts.width_by_policy;
  model.defaults = parts.model->generation;
  return model;
}

template <typename Request>
uint64_t BytesOf(const Request& request) {
  return request.ByteSizeLong() + kRequestOverheadBytes;
}
uint64_t BytesOf(const std::vector<v1::GenerateRequest>& requests) {
  uint64_t bytes = 0;
  for (const v1::GenerateRequest& request : requests) bytes += BytesOf(request);
  return bytes;
}

ServiceParts WithSeed(ServiceParts parts) {
  if (!parts.random_seed) parts.random_seed = SystemSeed;
  return parts;
}

class ServiceImpl final : public Service {
 public:
  explicit ServiceImpl(const ServiceParts& parts)
      : parts_(parts),
        started_(parts.clock->Now()),
        description_(DescribeModel(parts)),
        model_(Served(parts)),
        starter_(WithSeed(parts), &model_),
        pool_(parts.preprocess_threads, parts.max_pending_bytes) {}

  void Generate(v1::GenerateRequest request, CallContext context,
                Callback<std::shared_ptr<GenerateStream>> done) override {
    std::vector<v1::GenerateRequest> one;
    one.push_back(std::move(request));
    GenerateAll(std::move(one), std::move(context),
                [done = std::move(done)](absl::StatusOr<GenerateStreams> streams) {
                  if (!streams.ok()) return done(streams.status());
                  done(std::move(streams->front()));
                });
  }

  void GenerateAll(std::vector<v1::GenerateRequest> requests, CallContext context,
                   Callback<GenerateStreams> done) override {
    std::vector<EngineRequest> engines;
    absl::Status valid;
    for (size_t i = 0; i < requests.size() && valid.ok(); ++i) {
      SetDefaultWidth(&requests[i]);
      absl::StatusOr<EngineRequest> engine = ValidateGenerate(requests[i], model_);
      if (engine.ok()) {
        engines.push_back(*std::move(engine));
      } else {
        valid = context.prompt_list ? NamePrompt(engine.status(), i) : engine.status();
      }
    }
    if (absl::Status status = Admit(valid, &context); !status.ok()) return Refuse(status, done);
    Prepare<GenerateStreams>(std::move(requests), std::move(done),
                             [this, engines = std::move(engines), context = std::move(context)](
                                 std::vector<v1::GenerateRequest>* messages) mutable {
                               return starter_.Generate(messages, context, std::move(engines));
                             });
  }

  void Score(v1::ScoreRequest request, CallContext context,
             Callback<std::shared_ptr<ScoreStream>> done) override {
    SetDefaultWidth(&request);
    absl::StatusOr<EngineRequest> engine = ValidateScore(request, model_);
    if (absl::Status status = Admit(engine.status(), &context); !status.ok()) {
      return Refuse(status, done);
    }
    Prepare<std::shared_ptr<ScoreStream>>(
        std::move(request), std::move(done),
        [this, engine = *std::move(engine),
         context = std::move(context)](v1::ScoreRequest* message) mutable {
          return starter_.Score(*message, context, std::move(engine));
        });
  }

  void Tokenize(v1::TokenizeRequest request, CallContext context,
                Callback<v1::TokenizeResponse> done) override {
    absl::Status status = Admit(ValidateTokenize(request, model_), nullptr);
    if (!status.ok()) return Refuse(status, done);
    Prepare<v1::TokenizeResponse>(
        std::move(request), std::move(done),
        [this, context = std::move(context)](v1::TokenizeRequest* message) {
          return starter_.Tokenize(*message, context);
        });
  }

  void Detokenize(v1::DetokenizeRequest request, Callback<v1::DetokenizeResponse> done) override {
    absl::Status status = Admit(ValidateDetokenize(request, model_), nullptr);
    if (!status.ok()) return Refuse(status, done);
    Prepare<v1::DetokenizeResponse>(
        std::move(request), std::move(done),
        [this](v1::DetokenizeRequest* message) -> absl::StatusOr<v1::DetokenizeResponse> {
          return starter_.Detokenize(*message);
        });
  }

  v1::ListModelsResponse ListModels() const override {
    v1::ListModelsResponse response;
    *response.add_models() = description_;
    return response;
  }

  absl::StatusOr<v1::Model> GetModel(std::string_view id) const override {
    if (absl::Status status = ValidateModel(id, model_); !status.ok()) return status;
    return description_;
  }

  v1::Status GetStatus() const override {
    const EngineStats stats = parts_.engine->Stats();
    v1::Status status;
    status.set_version(parts_.version);
    status.set_backend(parts_.backend);
    status.set_draining(draining());
    status.set_ready(!draining() && live());
    status.set_running(static_cast<uint32_t>(stats.requests_running));
    status.set_waiting(static_cast<uint32_t>(stats.requests_waiting));
    status.set_uptime_seconds(
        std::chrono::duration<double>(parts_.clock->Now() - started_).count());
    return status;
  }

  v1::CacheStats GetCacheStats() const override {
    const EngineStats stats = parts_.engine->Stats();
    v1::CacheStats out;
    out.set_pages_total(stats.pages_total);
    out.set_pages_free(stats.pages_free);
    out.set_tokens_capacity(stats.tokens_capacity);
    out.set_tokens_in_use(stats.tokens_in_use);
    out.set_tokens_reusable(stats.tokens_reusable);
    out.set_prefix_queries(stats.prefix_queries);
    out.set_prefix_hits(stats.prefix_hits);
    out.set_preemptions(stats.preemptions);
    out.set_bytes_per_page(stats.bytes_per_page);
    return out;
  }

  v1::FlushCacheResponse FlushCache(const v1::FlushCacheRequest& request) override {
    v1::FlushCacheResponse response;
    if (request.cache_salt().empty()) {
      response.set_blocks_freed(parts_.engine->FlushCache(nullptr));
    } else {
      const std::array<uint64_t, 2> salt = starter_.salts().Salt("", request.cache_salt());
      response.set_blocks_freed(parts_.engine->FlushCache(salt.data()));
    }
    return response;
  }

  void Drain() override {
    if (!draining_.exchange(true)) parts_.engine->Drain();
  }
  bool draining() const override { return draining_; }

  bool live() const override {
    return liveness_.Check(parts_.engine->Stats(), parts_.engine->InFlight(), parts_.clock->Now());
  }

  int64_t InFlight() const override {
    return std::max(parts_.engine->InFlight(), starter_.in_flight().count());
  }

  void OnDrained(std::function<void()> callback) override {
    starter_.in_flight().OnZero(callback);
    parts_.engine->OnDrained(std::move(callback));
  }

  void CutOff() override {
    parts_.engine->CancelAll(
        absl::UnavailableError("the server was draining and the time for it is over"));
  }

 private:
  // An explicit width stays, even an empty one, which is the full width.
  template <typename Request>
  void SetDefaultWidth(Request* request) const {
    if (parts_.default_width && !request->has_width()) {
      *request->mutable_width() = *parts_.default_width;
    }
  }

  // What may turn a request away before any work is done. A null context: not for the engine.
  absl::Status Admit(const absl::Status& valid, const CallContext* context) const {
    if (draining_) return Draining();
    if (!valid.ok()) return valid;
    if (context == nullptr) return absl::OkStatus();
    if (absl::Status status = starter_.CheckWanted(*context); !status.ok()) return status;
    const absl::Status room = parts_.engine->CheckRoom();
    return room.ok() ? room : Full(std::string(room.message()), kRetrySeconds);
  }

  template <typename T>
  void Refuse(const absl::Status& status, const Callback<T>& done) const {
    parts_.metrics->Refused(RefusalOf(status));
    done(ForCaller(status));
  }

  // Runs `work` on the pool and hands its result to `done`.
  template <typename T, typename Request, typename Work>
  void Prepare(Request request, Callback<T> done, Work work) {
    const uint64_t bytes = BytesOf(request);
    struct Job {
      std::shared_ptr<void> ticket;
      Request request;
      Callback<T> done;
      Work work;
    };
    auto job = std::make_shared<Job>(
        Job{starter_.in_flight().Ticket(), std::move(request), std::move(done), std::move(work)});
    const bool taken = pool_.Submit(bytes, [this, job](bool run) {
      absl::StatusOr<T> result = Draining();
      if (run) result = job->work(&job->request);
      job->ticket.reset();  // a stream has its own
      if (!result.ok()) return Refuse(result.status(), job->done);
      job->done(std::move(result));
    });
    if (!taken) {
      Refuse(Full("the server is full: too many bytes of requests are waiting; try again later",
                  kRetrySeconds),
             job->done);
    }
  }

  const ServiceParts parts_;
  const TimePoint started_;
  const v1::Model description_;
  const ServedModel model_;
  const RequestStarter starter_;
  std::atomic<bool> draining_{false};
  mutable Liveness liveness_;
  PreprocessPool pool_;  // last: its jobs use the rest
};

}  // namespace

std::unique_ptr<Service> Service::Create(const ServiceParts& parts) {
  return std::make_unique<ServiceImpl>(parts);
}

}  // namespace latentd
