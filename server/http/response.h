// The bytes of HTTP/1.1 responses.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace latentd {

struct ResponseHead {
  int status = 200;
  std::string_view content_type = "application/json";
  bool http10 = false;  // of the request
  bool keep_alive = true;
  // Absent: the length is not known; chunked, or for HTTP/1.0 until the connection closes.
  std::optional<size_t> content_length;
  std::vector<std::pair<std::string_view, std::string>> more;  // further header lines
};

// Up to and with the empty line.
std::string HeadBytes(const ResponseHead& head);

// Frames of a body of unknown length; for HTTP/1.0 the bytes as they are.
std::string Frame(std::string_view data, bool http10);
std::string_view LastFrame(bool http10);

}  // namespace latentd
