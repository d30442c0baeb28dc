// What a request's head must satisfy beyond its grammar, which Beast checks.
#pragma once

#include <boost/beast/http/message.hpp>
#include <optional>
#include <string>

#include "server/http/error_json.h"

namespace latentd {

using RequestHead = boost::beast::http::request_header<>;

// A character of a method or a field's name (RFC 9110, 5.6.2).
bool IsTokenChar(char c);

// Host once, and well formed (RFC 9112, 3.2); nullopt: nothing is wrong.
std::optional<HttpError> CheckHost(const RequestHead& head);

// The body's framing is one that is served; `chunked` is what the parser made of it.
std::optional<HttpError> CheckFraming(const RequestHead& head, bool chunked);

// The path of the target in origin or absolute form, without query, still percent-encoded; "*" in
// asterisk form; "" where it is none of these.
std::string TargetPath(const RequestHead& head);

}  // namespace latentd
