// Limits of the doors; each has a flag or a stated default (docs and --help come from
// server/options).
#pragma once

#include <chrono>
#include <cstddef>

namespace latentd {

inline constexpr size_t kMaxJsonDepth = 128;  // of a body, over both doors

struct DoorLimits {
  size_t max_body_bytes = 8u << 20;     // HTTP body and gRPC message (--max-body)
  size_t max_header_bytes = 64u << 10;  // HTTP: 431 above
  size_t max_header_lines = 256;
  size_t max_json_depth = kMaxJsonDepth;
  std::chrono::milliseconds header_timeout{10000};  // whole header, however it dribbles: 408
  std::chrono::milliseconds body_timeout{60000};    // whole body
  std::chrono::milliseconds idle_timeout{75000};    // keep-alive
  int max_connections = 4096;                       // HTTP: 503 + Retry-After above
  bool ignore_unknown_fields = false;               // --unknown-fields ignore
};

}  // namespace latentd
