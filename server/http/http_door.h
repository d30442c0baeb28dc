// The OpenAI-compatible HTTP/1.1 door (Boost.Beast): JSON → the same protobuf message that a gRPC
// client sends → Service → JSON or SSE.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/limits.h"

namespace latentd {

class Metrics;
class Service;

// Connections above max_connections that are being told so; more are closed at once.
inline constexpr int kMaxTurnedAway = 64;

// Runs its own thread. Borrows service and metrics, which outlive it.
class HttpDoor {
 public:
  struct Options {
    std::string host = "127.0.0.1";  // name or address
    int port = 8080;                 // 0: any free one
    DoorLimits limits;
    std::string version;
  };
  // Binds (without SO_REUSEPORT) and listens; an error names the address and why.
  static absl::StatusOr<std::unique_ptr<HttpDoor>> Start(const Options& options, Service* service,
                                                         Metrics* metrics);
  virtual ~HttpDoor() = default;
  virtual int port() const = 0;
  virtual std::string address() const = 0;  // "127.0.0.1:8080"
  // Stops accepting and closes idle connections; streams already open finish. Blocks until they
  // have or until `deadline`, then cuts them.
  virtual void Shutdown(std::chrono::steady_clock::time_point deadline) = 0;
};

}  // namespace latentd
