#include "server/errors.h"

#include <catch2/catch.hpp>
#include <string>

namespace latentd {
namespace {

TEST_CASE("Every status code has one HTTP answer") {
  struct Case {
    absl::StatusCode code;
    uint32_t http;
    const char* type;
    const char* error_code;
    uint32_t retry;
  };
  const Case cases[] = {
      {absl::StatusCode::kInvalidArgument, 400, "invalid_request_error", "", 0},
      {absl::StatusCode::kFailedPrecondition, 400, "invalid_request_error", "", 0},
      {absl::StatusCode::kOutOfRange, 400, "invalid_request_error", "", 0},
      {absl::StatusCode::kUnauthenticated, 401, "authentication_error", "invalid_api_key", 0},
      {absl::StatusCode::kPermissionDenied, 403, "permission_error", "", 0},
      {absl::StatusCode::kNotFound, 404, "invalid_request_error", "", 0},
      {absl::StatusCode::kCancelled, 499, "server_error", "cancelled", 0},
      {absl::StatusCode::kInternal, 500, "server_error", "internal_error", 0},
      {absl::StatusCode::kUnknown, 500, "server_error", "internal_error", 0},
      {absl::StatusCode::kDataLoss, 500, "server_error", "internal_error", 0},
      {absl::StatusCode::kAborted, 500, "server_error", "internal_error", 0},
      {absl::StatusCode::kUnimplemented, 501, "server_error", "not_implemented", 0},
      {absl::StatusCode::kResourceExhausted, 503, "server_error", "overloaded", 1},
      {absl::StatusCode::kUnavailable, 503, "server_error", "unavailable", 1},
      {absl::StatusCode::kDeadlineExceeded, 504, "server_error", "timeout", 0},
  };
  for (const Case& c : cases) {
    CAPTURE(c.http, static_cast<int>(c.code));
    const absl::Status status(c.code, "why");
    for (const absl::Status& s : {status, ForCaller(status)}) {
      const v1::ErrorDetail detail = DetailOf(s);
      CHECK(detail.http_status() == c.http);
      CHECK(detail.type() == c.type);
      CHECK(detail.code() == c.error_code);
      CHECK(detail.param().empty());
      CHECK(detail.retry_after_seconds() == c.retry);
    }
  }
}

TEST_CASE("The makers fill the payload") {
  const absl::Status field = BadField("stop[1]", "stop[1] must not be empty");
  CHECK(field.code() == absl::StatusCode::kInvalidArgument);
  CHECK(DetailOf(field).param() == "stop[1]");
  CHECK(DetailOf(BadField("prompt", "m", "context_length_exceeded")).code() ==
        "context_length_exceeded");
  CHECK(OutOfRange("n", "between 1 and 128", "0").message() ==
        "n must be between 1 and 128, got 0");

  const absl::Status model = UnknownModel("gpt", "demo");
  CHECK(model.message() == "The model \"gpt\" does not exist; \"demo\" is served");
  CHECK(model.code() == absl::StatusCode::kNotFound);
  CHECK(DetailOf(model).param() == "model");
  CHECK(DetailOf(model).code() == "model_not_found");
  CHECK(DetailOf(model).http_status() == 404);

  CHECK(DetailOf(Full("full", 5)).retry_after_seconds() == 5);
  CHECK(DetailOf(Full("full", 0)).retry_after_seconds() == 1);
  CHECK(Full("full", 5).code() == absl::StatusCode::kResourceExhausted);
  CHECK(Draining().code() == absl::StatusCode::kUnavailable);
  CHECK(std::string(Draining().message()).find("drain") != std::string::npos);
  CHECK(DetailOf(Draining()).http_status() == 503);
}

TEST_CASE("A fault of ours tells nothing of the inside") {
  for (const auto code : {absl::StatusCode::kInternal, absl::StatusCode::kUnknown,
                          absl::StatusCode::kDataLoss, absl::StatusCode::kAborted}) {
    const absl::Status shown = ForCaller(absl::Status(code, "segment 0x7f at /srv/model.bin"));
    CHECK(shown.code() == absl::StatusCode::kInternal);
    CHECK(shown.message() == "the server failed on this request");
  }
  CHECK(ForCaller(absl::OkStatus()).ok());
}

TEST_CASE("Messages are one line of UTF-8 of at most 800 characters") {
  CHECK(ForCaller(absl::InvalidArgumentError("a\r\nb\tc\x7f")).message() == "a  b c ");
  CHECK(ForCaller(absl::InvalidArgumentError("\xff!")).message() == "\xEF\xBF\xBD!");
  CHECK(ForCaller(absl::InvalidArgumentError(std::string(800, 'x'))).message() ==
        std::string(800, 'x'));
  CHECK(ForCaller(absl::InvalidArgumentError(std::string(801, 'x'))).message() ==
        std::string(799, 'x') + "…");
  std::string umlauts;
  for (int i = 0; i < 900; ++i) umlauts += "ü";
  const std::string cut(BadField("f", umlauts).message());
  CHECK(cut == umlauts.substr(0, 2 * 799) + "…");
  const std::string unknown(UnknownModel(std::string(100'000, 'm'), "demo").message());
  CHECK(unknown.size() < 800);
  CHECK(unknown.find("\"demo\" is served") != std::string::npos);
}

TEST_CASE("ForCaller keeps a payload, and doing it twice changes nothing") {
  const absl::Status once = ForCaller(BadField("top_p", "top_p must be above 0", "c"));
  CHECK(DetailOf(once).param() == "top_p");
  CHECK(ForCaller(once) == once);
}

}  // namespace
}  // namespace latentd
