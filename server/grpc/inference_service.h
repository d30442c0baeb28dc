// latentd.v1.Inference over the shared service.
#pragma once

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "server/grpc/pump.h"
#include "server/service.h"

namespace latentd {

class Metrics;
class OpenCalls;

// Borrows `service`, `metrics` and `open`. The call's own deadline and cancellation govern the
// request.
std::unique_ptr<grpc::Service> MakeInferenceService(Service* service, Metrics* metrics,
                                                    OpenCalls* open, std::shared_ptr<Pump> pump);

}  // namespace latentd
