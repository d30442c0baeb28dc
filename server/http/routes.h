// Which endpoint a request is for, and whether its head can be served there.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "server/http/error_json.h"

namespace latentd {

enum class Endpoint {
  kHealth,
  kReady,
  kMetrics,
  kVersion,
  kModels,
  kModel,
  kTokenize,
  kDetokenize,
  kCompletions,
  kChatCompletions,
};

struct Route {
  Endpoint endpoint = Endpoint::kHealth;
  std::string model_id;  // kModel: percent-decoded
};

// `path` is percent-encoded, without query. Errors: 404, 405 with the methods allowed, 400 for bad
// percent-encoding. HEAD is served where GET is.
std::variant<Route, HttpError> FindRoute(std::string_view method, std::string_view path);

// Whether a body of these headers is JSON: application/json, in UTF-8, not compressed.
bool IsJsonContent(std::string_view content_type, std::string_view content_encoding);
bool TakesBody(Endpoint endpoint);

}  // namespace latentd
