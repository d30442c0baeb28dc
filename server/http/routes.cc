#include "server/http/routes.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "server/cat.h"
#include "server/http/fields.h"

namespace latentd {
namespace {

struct Row {
  std::string_view path;
  Endpoint endpoint;
};
constexpr Row kRows[] = {
    {"/health", Endpoint::kHealth},
    {"/ready", Endpoint::kReady},
    {"/metrics", Endpoint::kMetrics},
    {"/version", Endpoint::kVersion},
    {"/v1/models", Endpoint::kModels},
    {"/tokenize", Endpoint::kTokenize},
    {"/detokenize", Endpoint::kDetokenize},
    {"/v1/completions", Endpoint::kCompletions},
    {"/v1/chat/completions", Endpoint::kChatCompletions},
};
constexpr std::string_view kModelPrefix = "/v1/models/";

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = HexDigit(text[i + 1]), low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    decoded.push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return decoded;
}

bool EqualsIgnoringCase(std::string_view a, std::string_view lower) {
  return absl::AsciiStrToLower(CatPart(a)) == lower;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace

bool TakesBody(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::kTokenize:
    case Endpoint::kDetokenize:
    case Endpoint::kCompletions:
    case Endpoint::kChatCompletions:
      return true;
    default:
      return false;
  }
}

std::variant<Route, HttpError> FindRoute(std::string_view method, std::string_view path) {
  std::optional<Route> route;
  for (const Row& row : kRows) {
    if (row.path == path) route = Route{row.endpoint, ""};
  }
  if (path.starts_with(kModelPrefix) && path.size() > kModelPrefix.size()) {
    std::optional<std::string> id = PercentDecode(path.substr(kModelPrefix.size()));
    if (!id) return DoorError(400, "the path has a malformed percent-encoding");
    route = Route{Endpoint::kModel, *std::move(id)};
  }
  if (!route) return DoorError(404, Cat("there is nothing at ", ShownName(path)));
  const bool posts = TakesBody(route->endpoint);
  if (posts ? method == "POST" : method == "GET" || method == "HEAD") return *std::move(route);
  HttpError error = DoorError(405, Cat(ShownName(path), " does not serve ", ShownName(method)));
  error.allow = posts ? "POST" : "GET, HEAD";
  return error;
}

bool IsJsonContent(std::string_view content_type, std::string_view content_encoding) {
  if (!content_encoding.empty() && !EqualsIgnoringCase(content_encoding, "identity")) return false;
  size_t end = content_type.find(';');
  if (!EqualsIgnoringCase(Trim(content_type.substr(0, end)), "application/json")) return false;
  while (end != std::string_view::npos) {
    content_type.remove_prefix(end + 1);
    end = content_type.find(';');
    const std::string_view parameter = Trim(content_type.substr(0, end));
    const size_t equals = parameter.find('=');
    if (!EqualsIgnoringCase(Trim(parameter.substr(0, equals)), "charset")) continue;
    std::string_view charset =
        equals == std::string_view::npos ? "" : Trim(parameter.substr(equals + 1));
    if (charset.size() >= 2 && charset.front() == '"' && charset.back() == '"') {
      charset = charset.substr(1, charset.size() - 2);
    }
    if (!EqualsIgnoringCase(charset, "utf-8")) return false;
  }
  return true;
}

}  // namespace latentd
