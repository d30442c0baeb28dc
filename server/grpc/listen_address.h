// Addresses to listen on.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace latentd {

// "HOST:PORT" (or "[V6]:PORT") with the host resolved to the first numeric address. An error is one
// sentence with the address in it: it is malformed, does not resolve, or cannot be bound, which is
// tried here because gRPC does not tell why it failed.
absl::StatusOr<std::string> CheckListenAddress(const std::string& address);

// "HOST:PORT" with another port.
std::string WithPort(const std::string& numeric_address, int port);

}  // namespace latentd
