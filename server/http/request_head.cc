#include "server/http/request_head.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <cctype>
#include <string_view>

namespace latentd {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;

bool IsHostChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("-._~:[]%!$&'()*+;=").find(c) != std::string_view::npos;
}

}  // namespace

bool IsTokenChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

std::optional<HttpError> CheckHost(const RequestHead& head) {
  const size_t count = head.count(http::field::host);
  if (count > 1) return DoorError(400, "the Host header must not be repeated");
  if (count == 0) {
    if (head.version() < 11) return std::nullopt;
    return DoorError(400, "the Host header is required");
  }
  const auto host = head[http::field::host];
  if (!std::all_of(host.begin(), host.end(), IsHostChar)) {
    return DoorError(400, "the Host header is malformed");
  }
  return std::nullopt;
}

std::optional<HttpError> CheckFraming(const RequestHead& head, bool chunked) {
  if (head.count(http::field::transfer_encoding) == 0) return std::nullopt;
  if (head.version() < 11) return DoorError(400, "HTTP/1.0 has no Transfer-Encoding");
  if (!chunked || !beast::iequals(head[http::field::transfer_encoding], "chunked")) {
    return DoorError(501, "the only Transfer-Encoding served is chunked");
  }
  return std::nullopt;
}

std::string TargetPath(const RequestHead& head) {
  std::string_view target(head.target().data(), head.target().size());
  for (const std::string_view scheme : {"http://", "https://"}) {  // absolute form
    if (!target.starts_with(scheme)) continue;
    target.remove_prefix(scheme.size());
    target.remove_prefix(std::min(target.find('/'), target.size()));
    if (target.empty()) target = "/";
    break;
  }
  if (!target.starts_with('/') && target != "*") return {};
  return std::string(target.substr(0, target.find_first_of("?#")));
}

}  // namespace latentd
