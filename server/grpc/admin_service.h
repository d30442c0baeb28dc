// latentd.v1.Admin over the shared service.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <functional>
#include <memory>

#include "server/service.h"

namespace latentd {

class Metrics;
class OpenCalls;

// Borrows `service`, `metrics` and `open`. `on_drain` runs after each Drain with its timeout in
// seconds, 0 for none.
std::unique_ptr<grpc::Service> MakeAdminService(
    Service* service, Metrics* metrics, OpenCalls* open,
    std::function<void(uint32_t timeout_seconds)> on_drain);

}  // namespace latentd
