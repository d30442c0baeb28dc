// Input: one byte that picks the route ('c', 'h', 't', else detokenize), then a body.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/text/utf8.h"
#include "server/errors.h"
#include "server/http/body.h"
#include "server/json/json.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void CheckError(const absl::Status& status) {
  const std::string message(status.message());
  Require(status.code() == absl::StatusCode::kInvalidArgument);
  Require(!message.empty() && message.size() <= 4 * 800);
  Require(message.find('\n') == std::string::npos && latentd::IsValidUtf8(message));
  const latentd::v1::ErrorDetail detail = latentd::DetailOf(status);
  Require(detail.http_status() == 400 && latentd::IsValidUtf8(detail.param()));
}

void CheckGenerate(const absl::StatusOr<latentd::GenerateCall>& call) {
  if (!call.ok()) return CheckError(call.status());
  Require(!call->requests.empty() && call->requests.size() <= latentd::kMaxPrompts);
  for (const auto& request : call->requests) {
    Require(request.prompt_case() != latentd::v1::GenerateRequest::PROMPT_NOT_SET);
    for (const std::string& stop : request.stop().strings()) Require(latentd::IsValidUtf8(stop));
  }
  if (call->timeout_seconds) Require(*call->timeout_seconds > 0);
}

// What is accepted is JSON to a second parser, too, and survives being written and read.
void CheckJson(std::string_view text) {
  const auto json = latentd::ParseJson(text, 128);
  if (!json.ok()) return;
  Require(nlohmann::json::accept(text));
  const std::string written = latentd::DumpJson(*json);
  const auto again = latentd::ParseJson(written, 128);
  Require(again.ok() && latentd::DumpJson(*again) == written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  CheckJson(body);
  latentd::BodyOptions options;
  options.ignore_unknown_fields = (data[0] & 0x80) != 0;
  switch (data[0] & 0x7F) {
    case 'c':
      CheckGenerate(latentd::ParseCompletionBody(body, options));
      break;
    case 'h':
      CheckGenerate(latentd::ParseChatBody(body, options));
      break;
    case 't':
      if (const auto call = latentd::ParseTokenizeBody(body, options); !call.ok()) {
        CheckError(call.status());
      }
      break;
    default:
      if (const auto call = latentd::ParseDetokenizeBody(body, options); !call.ok()) {
        CheckError(call.status());
      }
  }
  return 0;
}
