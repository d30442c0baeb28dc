// One HTTP/1.1 request, read from a connection within the door's limits.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "server/http/connection.h"
#include "server/http/error_json.h"
#include "server/limits.h"

namespace latentd {

struct HttpRequest {
  std::string method;  // as sent: methods are case-sensitive
  std::string path;    // of the target, without query, still percent-encoded
  bool http10 = false;
  bool keep_alive = true;
  bool has_body = false;
  std::string content_type;      // "" without
  std::string content_encoding;  // "" without
  std::string body;
  Connection::TimePoint received;  // when its last byte was here
};

// What came of reading. `error`: to be told. Neither: the client
// left, or said nothing in time, and there is nobody to answer.
struct ReadResult {
  bool complete = false;
  HttpRequest request;  // as far as it is known, also with an error
  std::optional<HttpError> error;
  bool in_sync = false;  // with an error: the next request can be read all the same
};

// Bytes of bodies that are being received, over all connections of a door.
struct BodyBytes {
  size_t held = 0;
  size_t max = 0;
};

struct ReadOptions {
  const DoorLimits* limits = nullptr;
  BodyBytes* bodies = nullptr;  // above its bound: 503
  bool first = true;            // of this connection: then its header is due at once
  // The head is read: an error here answers instead of reading the body. 100-continue is only sent
  // after it.
  std::function<std::optional<HttpError>(const HttpRequest&)> check_head;
  // Asked between requests: true closes an idle connection.
  std::function<bool()> closing;
};

// Door thread only. The connection outlives the call.
boost::asio::awaitable<ReadResult> ReadRequest(Connection* connection, ReadOptions options);

}  // namespace latentd
