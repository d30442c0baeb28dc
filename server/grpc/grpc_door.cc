#include "server/grpc/grpc_door.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.pb.h"
#include "server/grpc/admin_service.h"
#include "server/grpc/inference_service.h"
#include "server/grpc/listen_address.h"
#include "server/grpc/open_calls.h"
#include "server/grpc/pump.h"
#include "server/grpc/wire.h"
#include "server/service.h"

namespace latentd {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

constexpr std::chrono::milliseconds kTick{500};  // how often liveness is looked at
constexpr int kMaxConcurrentStreams = 1024;      // per connection
constexpr size_t kQuotaBytes = 1u << 30;         // of one server, for gRPC's own buffers

// Health and reflection are plug-ins of every server built in the process.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // Named here so that the linker keeps the descriptor, which reflection looks up.
    grpc::health::v1::HealthCheckRequest::descriptor();
  });
}

struct Listening {
  std::unique_ptr<grpc::Server> server;
  std::string address;
};

absl::StatusOr<Listening> Listen(const std::string& wanted, const DoorLimits& limits,
                                 grpc::Service* service) {
  absl::StatusOr<std::string> numeric = CheckListenAddress(wanted);
  if (!numeric.ok()) return numeric.status();
  const int max_message = static_cast<int>(std::min<size_t>(limits.max_body_bytes, INT_MAX));
  const int max_metadata = static_cast<int>(std::min<size_t>(limits.max_header_bytes, INT_MAX));
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(*numeric, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(service);
  // gRPC drops a call whose message is larger before the program hears of it, interceptors
  // included, and answers RESOURCE_EXHAUSTED itself: these alone are missing in
  // latentd_requests_refused_total.
  builder.SetMaxReceiveMessageSize(max_message);
  builder.SetMaxSendMessageSize(-1);  // our own messages are small by construction
  builder.SetResourceQuota(grpc::ResourceQuota().Resize(kQuotaBytes));
  // A second server on a used port must fail, not share its connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, max_metadata);
  // A peer that vanished without a word is noticed, and its requests end.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  Listening listening;
  listening.server = builder.BuildAndStart();
  if (listening.server == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", wanted));
  }
  listening.address = WithPort(*numeric, port);
  return listening;
}

class GrpcDoorImpl final : public GrpcDoor {
 public:
  GrpcDoorImpl(const Options& options, Service* service, Metrics* metrics)
      : options_(options),
        service_(service),
        metrics_(metrics),
        pump_(std::make_shared<Pump>(kTick, [this] { Tick(); })),
        inference_(MakeInferenceService(service, metrics, &open_, pump_)) {}

  ~GrpcDoorImpl() override {
    Shutdown(std::chrono::steady_clock::now());
    pump_->Stop();
  }

  absl::Status Start() {
    EnablePlugins();
    CatchProtobufLog();
    absl::StatusOr<Listening> main = Listen(options_.address, options_.limits, inference_.get());
    if (!main.ok()) return main.status();
    main_ = *std::move(main);
    if (!options_.admin_address.empty()) {
      admin_service_ = MakeAdminService(service_, metrics_, &open_,
                                        [this](uint32_t seconds) { DrainBegan(seconds); });
      absl::StatusOr<Listening> admin =
          Listen(options_.admin_address, options_.limits, admin_service_.get());
      if (!admin.ok()) return admin.status();
      admin_ = *std::move(admin);
    }
    started_ = true;
    ShowHealth();
    return absl::OkStatus();
  }

  std::string address() const override { return main_.address; }
  std::string admin_address() const override { return admin_.address; }

  void SetReady(bool ready) override {
    ready_ = ready;
    ShowHealth();
  }

  void Shutdown(SteadyTime deadline) override {
    // Calls that never end by themselves (health's Watch) are not ours, and not waited for.
    open_.WaitForNone(deadline);
    const auto until = std::chrono::system_clock::now();
    if (main_.server) main_.server->Shutdown(until);
    if (admin_.server) admin_.server->Shutdown(until);
  }

 private:
  void DrainBegan(uint32_t timeout_seconds) {
    if (timeout_seconds > 0) {
      const std::lock_guard lock(mutex_);
      const SteadyTime end =
          std::chrono::steady_clock::now() + std::chrono::seconds(timeout_seconds);
      cut_off_ = cut_off_ ? std::min(*cut_off_, end) : end;
    }
    ShowHealth();
    if (options_.on_drain) options_.on_drain();
  }

  void Tick() {
    if (!started_) return;
    ShowHealth();
    {
      const std::lock_guard lock(mutex_);
      if (!cut_off_ || std::chrono::steady_clock::now() < *cut_off_) return;
      cut_off_.reset();
    }
    service_->CutOff();
  }

  // Watchers are told of changes only.
  void ShowHealth() {
    const std::lock_guard lock(mutex_);
    const bool live = service_->live();
    const bool ready = ready_ && live && !service_->draining();
    Show("liveness", live);
    Show("readiness", ready);
    Show("", ready);
  }

  void Show(const char* name, bool serving) {
    const auto [it, is_new] = shown_.try_emplace(name, serving);
    if (!is_new && it->second == serving) return;
    it->second = serving;
    for (const Listening* listening : {&main_, &admin_}) {
      if (!listening->server) continue;
      listening->server->GetHealthCheckService()->SetServingStatus(name, serving);
    }
  }

  const Options options_;
  Service* const service_;
  Metrics* const metrics_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> started_{false};
  std::mutex mutex_;
  std::map<std::string, bool> shown_;  // guarded by mutex_
  std::optional<SteadyTime> cut_off_;  // guarded by mutex_: when a drain's time is over
  OpenCalls open_;
  const std::shared_ptr<Pump> pump_;
  const std::unique_ptr<grpc::Service> inference_;
  std::unique_ptr<grpc::Service> admin_service_;
  Listening main_, admin_;  // before the services go, so the servers are destroyed first
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcDoor>> GrpcDoor::Start(const Options& options, Service* service,
                                                          Metrics* metrics) {
  auto door = std::make_unique<GrpcDoorImpl>(options, service, metrics);
  if (absl::Status status = door->Start(); !status.ok()) return status;
  return door;
}

}  // namespace latentd
