// The gRPC door: latentd.v1.Inference, Admin on its own port, grpc.health.v1 and reflection.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/limits.h"

namespace latentd {

class Metrics;
class Service;

// Borrows service and metrics, which outlive it.
class GrpcDoor {
 public:
  struct Options {
    std::string address = "127.0.0.1:50051";  // port 0: any free one
    std::string admin_address;                // "": no Admin service
    DoorLimits limits;
    std::function<void()> on_drain;  // Admin.Drain was called (drains without exiting)
  };
  static absl::StatusOr<std::unique_ptr<GrpcDoor>> Start(const Options& options, Service* service,
                                                         Metrics* metrics);
  virtual ~GrpcDoor() = default;
  virtual std::string address() const = 0;        // "127.0.0.1:50051"
  virtual std::string admin_address() const = 0;  // "" without
  // Health of "" and "readiness" (liveness follows Service::live()).
  virtual void SetReady(bool ready) = 0;
  // Stops the servers when no call of our services is open, health's Watch left aside; those still
  // open at `deadline` are cut.
  virtual void Shutdown(std::chrono::steady_clock::time_point deadline) = 0;
};

}  // namespace latentd
