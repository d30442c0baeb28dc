// What a body parser made of a body, as one line of text.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "server/http/body.h"

namespace latentd {

enum class BodyRoute { kCompletion, kChat, kTokenize, kDetokenize };

// The requests in protobuf's text format, joined by " | ", then +stream, +usage, +ids, +timeout or
// +strings; or "400 [param] [code] message".
std::string Outcome(BodyRoute route, std::string_view body, const BodyOptions& options);
std::string ErrorText(const absl::Status& status);

}  // namespace latentd
