// `latentd serve`: the doors over the program, from the ready line to the end of the drain.
#include "server/serve.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>

#include "server/cli/command_line.h"
#include "server/cli/signals.h"
#include "server/descriptors.h"
#include "server/grpc/grpc_door.h"
#include "server/http/http_door.h"
#include "server/program.h"

namespace latentd {

absl::Status Serve(const Options& options) {
  DrainWatch watch;  // outlives the engine, whose last request wakes it
  Program program;
  if (absl::Status status = CreateProgram(options, &program); !status.ok()) return status;

  DoorLimits limits = options.limits;
  limits.max_connections = FitConnections(limits.max_connections);
  if (limits.max_connections < options.limits.max_connections) {
    spdlog::warn("at most {} HTTP connections instead of {}: the limit of open files is too low",
                 limits.max_connections, options.limits.max_connections);
  }
  const size_t colon = options.http.rfind(':');
  auto http = HttpDoor::Start({.host = options.http.substr(0, colon),
                               .port = std::stoi(options.http.substr(colon + 1)),
                               .limits = limits,
                               .version = std::string(Version())},
                              program.service.get(), program.metrics.get());
  if (!http.ok()) return http.status();
  auto grpc = GrpcDoor::Start({.address = options.grpc,
                               .admin_address = options.admin,
                               .limits = limits,
                               .on_drain = [&] { program.service->Drain(); }},
                              program.service.get(), program.metrics.get());
  if (!grpc.ok()) return grpc.status();
  (*grpc)->SetReady(true);
  const std::string admin = (*grpc)->admin_address();
  std::printf("ready http=%s grpc=%s%s%s model=%s\n", (*http)->address().c_str(),
              (*grpc)->address().c_str(), admin.empty() ? "" : " admin=", admin.c_str(),
              program.model_id.c_str());
  std::fflush(stdout);

  const auto begin_drain = [&] {
    spdlog::info("draining: no new work; waiting for {} requests", program.service->InFlight());
    (*grpc)->SetReady(false);
    program.service->Drain();
    program.service->OnDrained([&watch] { watch.Wake(); });
  };
  const bool drained = watch.Wait(
      begin_drain, [&] { return program.service->InFlight() == 0; },
      std::chrono::seconds(options.drain_timeout_seconds));
  if (!drained) {
    spdlog::warn("the drain timeout has passed: {} requests are cut", program.service->InFlight());
    program.service->CutOff();
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  (*http)->Shutdown(deadline);
  (*grpc)->Shutdown(deadline);
  return absl::OkStatus();
}

}  // namespace latentd
