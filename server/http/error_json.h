// The error object of every HTTP answer that is no success.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace latentd {

struct HttpError {
  int status = 500;
  std::string message;  // one line
  std::string type = "invalid_request_error";
  std::string param;                 // "": null
  std::string code;                  // "": null
  uint32_t retry_after_seconds = 0;  // 0: no Retry-After
  std::string allow;                 // 405: the methods
};

// An error of the service or of a body parser.
HttpError ErrorOf(const absl::Status& status);
// An error of the door itself: syntax, size, method, path. 5xx has the type server_error.
HttpError DoorError(int status, std::string_view message);
// {"error": {"message", "type", "param", "code"}}
std::string ErrorBody(const HttpError& error);

}  // namespace latentd
