#include "server/grpc/admin_service.h"

#include <utility>

#include "latentd/v1/latentd.grpc.pb.h"
#include "server/grpc/wire.h"

namespace latentd {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

using Stub = v1::Admin;
using RawAdmin = Stub::WithRawCallbackMethod_GetStatus<Stub::WithRawCallbackMethod_GetCacheStats<
    Stub::WithRawCallbackMethod_FlushCache<Stub::WithRawCallbackMethod_Drain<Stub::Service>>>>;

class AdminService final : public RawAdmin {
 public:
  AdminService(latentd::Service* service, Metrics* metrics, OpenCalls* open,
               std::function<void(uint32_t)> on_drain)
      : service_(service), metrics_(metrics), open_(open), on_drain_(std::move(on_drain)) {}

  ServerUnaryReactor* GetStatus(CallbackServerContext* /*call*/, const ByteBuffer* bytes,
                                ByteBuffer* response) override {
    return AnswerUnary<v1::GetStatusRequest, v1::Status>(
        *bytes, response, metrics_, open_,
        [&](const auto& /*request*/, auto done) { done(service_->GetStatus()); });
  }

  ServerUnaryReactor* GetCacheStats(CallbackServerContext* /*call*/, const ByteBuffer* bytes,
                                    ByteBuffer* response) override {
    return AnswerUnary<v1::GetCacheStatsRequest, v1::CacheStats>(
        *bytes, response, metrics_, open_,
        [&](const auto& /*request*/, auto done) { done(service_->GetCacheStats()); });
  }

  // Waits for the engine's thread, that is for a step at most.
  ServerUnaryReactor* FlushCache(CallbackServerContext* /*call*/, const ByteBuffer* bytes,
                                 ByteBuffer* response) override {
    return AnswerUnary<v1::FlushCacheRequest, v1::FlushCacheResponse>(
        *bytes, response, metrics_, open_,
        [&](const auto& request, auto done) { done(service_->FlushCache(request)); });
  }

  ServerUnaryReactor* Drain(CallbackServerContext* /*call*/, const ByteBuffer* bytes,
                            ByteBuffer* response) override {
    return AnswerUnary<v1::DrainRequest, v1::DrainResponse>(
        *bytes, response, metrics_, open_, [&](const auto& request, auto done) {
          service_->Drain();
          on_drain_(request.timeout_seconds());
          v1::DrainResponse answer;
          answer.set_still_running(static_cast<uint32_t>(service_->InFlight()));
          done(std::move(answer));
        });
  }

 private:
  latentd::Service* const service_;
  Metrics* const metrics_;
  OpenCalls* const open_;
  const std::function<void(uint32_t)> on_drain_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeAdminService(
    Service* service, Metrics* metrics, OpenCalls* open,
    std::function<void(uint32_t timeout_seconds)> on_drain) {
  return std::make_unique<AdminService>(service, metrics, open, std::move(on_drain));
}

}  // namespace latentd
