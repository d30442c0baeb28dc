#include "server/grpc/rpc_status.h"

#include <string>

#include "google/rpc/status.pb.h"
#include "server/errors.h"

namespace latentd {

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  details.add_details()->PackFrom(DetailOf(status));
  // absl and gRPC number the codes alike.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), details.message(),
                      details.SerializeAsString());
}

}  // namespace latentd
