#include "tests/server/http/outcome.h"

#include "server/errors.h"

namespace latentd {
namespace {

std::string Text(const absl::StatusOr<GenerateCall>& call) {
  if (!call.ok()) return ErrorText(call.status());
  std::string text;
  for (const v1::GenerateRequest& request : call->requests) {
    if (!text.empty()) text += " | ";
    text += request.ShortDebugString();
  }
  if (call->stream) text += " +stream";
  if (call->include_usage) text += " +usage";
  if (call->return_token_ids) text += " +ids";
  if (call->timeout_seconds) text += " +timeout";
  return text;
}

std::string Text(const absl::StatusOr<TokenizeCall>& call) {
  if (!call.ok()) return ErrorText(call.status());
  return call->request.ShortDebugString() + (call->return_token_strings ? " +strings" : "");
}

std::string Text(const absl::StatusOr<v1::DetokenizeRequest>& request) {
  return request.ok() ? request->ShortDebugString() : ErrorText(request.status());
}

}  // namespace

std::string ErrorText(const absl::Status& status) {
  const v1::ErrorDetail detail = DetailOf(status);
  return std::to_string(detail.http_status()) + " [" + detail.param() + "] [" + detail.code() +
         "] " + std::string(status.message());
}

std::string Outcome(BodyRoute route, std::string_view body, const BodyOptions& options) {
  switch (route) {
    case BodyRoute::kCompletion:
      return Text(ParseCompletionBody(body, options));
    case BodyRoute::kChat:
      return Text(ParseChatBody(body, options));
    case BodyRoute::kTokenize:
      return Text(ParseTokenizeBody(body, options));
    case BodyRoute::kDetokenize:
      return Text(ParseDetokenizeBody(body, options));
  }
  return "";
}

}  // namespace latentd
