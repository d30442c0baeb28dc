// Statuses as gRPC sends them.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace latentd {

// Code, message and, for errors, google.rpc.Status with a latentd.v1.ErrorDetail in it (trailer
// grpc-status-details-bin). `status` is fit for the caller (ForCaller).
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace latentd
