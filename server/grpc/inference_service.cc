#include "server/grpc/inference_service.h"

#include <chrono>
#include <utility>

#include "latentd/v1/latentd.grpc.pb.h"
#include "server/grpc/stream_reactor.h"
#include "server/grpc/wire.h"
#include "server/metrics.h"

namespace latentd {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using grpc::ServerWriteReactor;

// Deadlines further away are none: the sum below must not overflow.
constexpr std::chrono::hours kFar{24 * 365};

CallContext MakeContext(const CallbackServerContext& call) {
  CallContext context;
  context.received = std::chrono::steady_clock::now();
  const auto left = call.deadline() - std::chrono::system_clock::now();
  if (left < kFar) {
    context.deadline =
        context.received + std::chrono::duration_cast<std::chrono::steady_clock::duration>(left);
  }
  return context;
}

using Stub = v1::Inference;
using RawInference = Stub::WithRawCallbackMethod_Generate<
    Stub::WithRawCallbackMethod_Score<Stub::WithRawCallbackMethod_Tokenize<
        Stub::WithRawCallbackMethod_Detokenize<Stub::WithRawCallbackMethod_ListModels<
            Stub::WithRawCallbackMethod_GetModel<Stub::Service>>>>>>;

class InferenceService final : public RawInference {
 public:
  InferenceService(latentd::Service* service, Metrics* metrics, OpenCalls* open,
                   std::shared_ptr<Pump> pump)
      : service_(service), metrics_(metrics), open_(open), pump_(std::move(pump)) {}

  ServerWriteReactor<ByteBuffer>* Generate(CallbackServerContext* call,
                                           const ByteBuffer* bytes) override {
    auto reactor = StreamReactor<v1::GenerateResponse>::Make(pump_, open_);
    v1::GenerateRequest request;
    if (absl::Status status = TakeRequest(*bytes, metrics_, &request); !status.ok()) {
      reactor->Start(std::move(status));
      return reactor.get();
    }
    CallContext context = MakeContext(*call);
    context.left = [reactor] { return reactor->left(); };
    service_->Generate(std::move(request), std::move(context),
                       [reactor](auto stream) { reactor->Start(std::move(stream)); });
    return reactor.get();
  }

  ServerWriteReactor<ByteBuffer>* Score(CallbackServerContext* call,
                                        const ByteBuffer* bytes) override {
    auto reactor = StreamReactor<v1::ScoreResponse>::Make(pump_, open_);
    v1::ScoreRequest request;
    if (absl::Status status = TakeRequest(*bytes, metrics_, &request); !status.ok()) {
      reactor->Start(std::move(status));
      return reactor.get();
    }
    CallContext context = MakeContext(*call);
    context.left = [reactor] { return reactor->left(); };
    service_->Score(std::move(request), std::move(context),
                    [reactor](auto stream) { reactor->Start(std::move(stream)); });
    return reactor.get();
  }

  ServerUnaryReactor* Tokenize(CallbackServerContext* call, const ByteBuffer* bytes,
                               ByteBuffer* response) override {
    CallContext context = MakeContext(*call);
    // Asked only before the answer, up to which gRPC keeps the call.
    context.left = [call] { return call->IsCancelled(); };
    return AnswerUnary<v1::TokenizeRequest, v1::TokenizeResponse>(
        *bytes, response, metrics_, open_, [&](auto request, auto done) {
          service_->Tokenize(std::move(request), std::move(context), std::move(done));
        });
  }

  ServerUnaryReactor* Detokenize(CallbackServerContext* /*call*/, const ByteBuffer* bytes,
                                 ByteBuffer* response) override {
    return AnswerUnary<v1::DetokenizeRequest, v1::DetokenizeResponse>(
        *bytes, response, metrics_, open_, [&](auto request, auto done) {
          service_->Detokenize(std::move(request), std::move(done));
        });
  }

  ServerUnaryReactor* ListModels(CallbackServerContext* /*call*/, const ByteBuffer* bytes,
                                 ByteBuffer* response) override {
    return AnswerUnary<v1::ListModelsRequest, v1::ListModelsResponse>(
        *bytes, response, metrics_, open_,
        [&](const auto& /*request*/, auto done) { done(service_->ListModels()); });
  }

  ServerUnaryReactor* GetModel(CallbackServerContext* /*call*/, const ByteBuffer* bytes,
                               ByteBuffer* response) override {
    return AnswerUnary<v1::GetModelRequest, v1::Model>(
        *bytes, response, metrics_, open_, [&](const auto& request, auto done) {
          absl::StatusOr<v1::Model> model = service_->GetModel(request.model());
          if (!model.ok()) metrics_->Refused(RefusalOf(model.status()));
          done(std::move(model));
        });
  }

 private:
  latentd::Service* const service_;
  Metrics* const metrics_;
  OpenCalls* const open_;
  const std::shared_ptr<Pump> pump_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(Service* service, Metrics* metrics,
                                                    OpenCalls* open, std::shared_ptr<Pump> pump) {
  return std::make_unique<InferenceService>(service, metrics, open, std::move(pump));
}

}  // namespace latentd
