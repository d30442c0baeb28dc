#include "server/errors.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "engine/text/utf8.h"
#include "server/cat.h"

namespace latentd {
namespace {

constexpr char kPayloadUrl[] = "type.googleapis.com/latentd.v1.ErrorDetail";
constexpr size_t kMaxMessageChars = 800;

// What a status code means to a caller when nothing more is known.
struct Row {
  absl::StatusCode status;
  uint32_t http_status;
  const char* type;
  const char* code;
};
constexpr Row kTable[] = {
    {absl::StatusCode::kInvalidArgument, 400, "invalid_request_error", ""},
    {absl::StatusCode::kFailedPrecondition, 400, "invalid_request_error", ""},
    {absl::StatusCode::kOutOfRange, 400, "invalid_request_error", ""},
    {absl::StatusCode::kUnauthenticated, 401, "authentication_error", "invalid_api_key"},
    {absl::StatusCode::kPermissionDenied, 403, "permission_error", ""},
    {absl::StatusCode::kNotFound, 404, "invalid_request_error", ""},
    {absl::StatusCode::kCancelled, 499, "server_error", "cancelled"},
    {absl::StatusCode::kResourceExhausted, 503, "server_error", "overloaded"},
    {absl::StatusCode::kUnavailable, 503, "server_error", "unavailable"},
    {absl::StatusCode::kDeadlineExceeded, 504, "server_error", "timeout"},
    {absl::StatusCode::kUnimplemented, 501, "server_error", "not_implemented"},
};
// Every other code is a fault of ours.
constexpr Row kFault = {absl::StatusCode::kInternal, 500, "server_error", "internal_error"};

const Row& RowOf(absl::StatusCode status) {
  for (const Row& row : kTable) {
    if (row.status == status) return row;
  }
  return kFault;
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// One line of valid UTF-8, at most kMaxMessageChars characters.
std::string OneLine(std::string_view message) {
  std::string line = ToValidUtf8(message);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  size_t chars = 0;
  size_t cut = 0;  // the end of the text if a mark for what is missing must follow
  for (size_t i = 0; i < line.size(); ++i) {
    if (IsContinuation(line[i])) continue;
    if (chars == kMaxMessageChars - 1) cut = i;
    if (++chars > kMaxMessageChars) return Cat(line.substr(0, cut), "…");
  }
  return line;
}

absl::Status Make(absl::StatusCode status, std::string_view message,
                  const v1::ErrorDetail& detail) {
  absl::Status result(status, OneLine(message));
  result.SetPayload(kPayloadUrl, absl::Cord(detail.SerializeAsString()));
  return result;
}

v1::ErrorDetail Implied(absl::StatusCode status) {
  const Row& row = RowOf(status);
  v1::ErrorDetail detail;
  detail.set_type(row.type);
  detail.set_code(row.code);
  detail.set_http_status(row.http_status);
  if (row.http_status == 503) detail.set_retry_after_seconds(1);
  return detail;
}

}  // namespace

absl::Status BadField(std::string_view param, std::string_view message, std::string_view code) {
  v1::ErrorDetail detail = Implied(absl::StatusCode::kInvalidArgument);
  detail.set_param(OneLine(param));
  detail.set_code(std::string(code));
  return Make(absl::StatusCode::kInvalidArgument, message, detail);
}

absl::Status OutOfRange(std::string_view param, std::string_view requirement,
                        std::string_view value) {
  return BadField(param, Cat(param, " must be ", requirement, ", got ", value));
}

absl::Status WrongType(std::string_view param, std::string_view what, std::string_view got) {
  return BadField(param, Cat(param, " must be ", what, ", not ", got));
}

absl::Status UnknownModel(std::string_view model, std::string_view served) {
  v1::ErrorDetail detail = Implied(absl::StatusCode::kNotFound);
  detail.set_param("model");
  detail.set_code("model_not_found");
  // The name is the caller's and may be long: the one that is served must still fit.
  std::string name = ToValidUtf8(model.substr(0, 200));
  if (model.size() > 200) name += "…";
  return Make(absl::StatusCode::kNotFound,
              Cat("The model \"", name, "\" does not exist; \"", served, "\" is served"), detail);
}

absl::Status Full(std::string_view message, uint32_t retry_after_seconds) {
  v1::ErrorDetail detail = Implied(absl::StatusCode::kResourceExhausted);
  detail.set_retry_after_seconds(std::max(1u, retry_after_seconds));
  return Make(absl::StatusCode::kResourceExhausted, message, detail);
}

absl::Status Draining() {
  v1::ErrorDetail detail = Implied(absl::StatusCode::kUnavailable);
  detail.set_code("draining");
  return Make(absl::StatusCode::kUnavailable,
              "the server is draining and takes no new work; try another one", detail);
}

v1::ErrorDetail DetailOf(const absl::Status& status) {
  if (const auto payload = status.GetPayload(kPayloadUrl)) {
    v1::ErrorDetail detail;
    if (detail.ParseFromString(std::string(*payload))) return detail;
  }
  return Implied(status.code());
}

absl::Status ForCaller(const absl::Status& status) {
  if (status.ok()) return status;
  const Row& row = RowOf(status.code());
  if (row.http_status == 500) {
    // What went wrong inside is for the log only.
    return Make(absl::StatusCode::kInternal, "the server failed on this request",
                Implied(absl::StatusCode::kInternal));
  }
  return Make(status.code(), std::string(status.message()), DetailOf(status));
}

}  // namespace latentd
