#include "server/http/response.h"

#include <ctime>

#include "absl/strings/str_format.h"
#include "server/cat.h"

namespace latentd {
namespace {

std::string_view Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    default:
      return status < 500 ? "Client Error" : "Server Error";
  }
}

// IMF-fixdate; not strftime, whose names of days follow the locale.
std::string Date() {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  return absl::StrFormat("%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[utc.tm_wday], utc.tm_mday,
                         kMonths[utc.tm_mon], utc.tm_year + 1900, utc.tm_hour, utc.tm_min,
                         utc.tm_sec);
}

}  // namespace

std::string HeadBytes(const ResponseHead& head) {
  std::string bytes = Cat("HTTP/1.1 ", head.status, " ", Reason(head.status), "\r\nDate: ", Date(),
                          "\r\nServer: latentd\r\nContent-Type: ", head.content_type, "\r\n");
  if (head.content_length) {
    bytes += Cat("Content-Length: ", *head.content_length, "\r\n");
  } else if (!head.http10) {
    bytes += "Transfer-Encoding: chunked\r\n";
  }
  for (const auto& [name, value] : head.more) bytes += Cat(name, ": ", value, "\r\n");
  if (!head.keep_alive) {
    bytes += "Connection: close\r\n";
  } else if (head.http10) {
    bytes += "Connection: keep-alive\r\n";
  }
  return bytes + "\r\n";
}

std::string Frame(std::string_view data, bool http10) {
  if (http10) return std::string(data);
  if (data.empty()) return "";  // an empty chunk would end the body
  return Cat(absl::Hex(data.size()), "\r\n", data, "\r\n");
}

std::string_view LastFrame(bool http10) { return http10 ? "" : "0\r\n\r\n"; }

}  // namespace latentd
