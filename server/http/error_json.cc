#include "server/http/error_json.h"

#include "server/errors.h"
#include "server/json/json.h"

namespace latentd {

HttpError ErrorOf(const absl::Status& status) {
  const v1::ErrorDetail detail = DetailOf(status);
  HttpError error;
  error.status = static_cast<int>(detail.http_status());
  error.message = std::string(status.message());
  error.type = detail.type();
  error.param = detail.param();
  error.code = detail.code();
  error.retry_after_seconds = detail.retry_after_seconds();
  return error;
}

HttpError DoorError(int status, std::string_view message) {
  HttpError error;
  error.status = status;
  error.message = std::string(message);
  if (status >= 500) error.type = "server_error";
  if (status == 503) error.retry_after_seconds = 1;
  return error;
}

std::string ErrorBody(const HttpError& error) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json body;
  body["error"] = {{"message", error.message},
                   {"type", error.type},
                   {"param", or_null(error.param)},
                   {"code", or_null(error.code)}};
  return DumpJson(body);
}

}  // namespace latentd
