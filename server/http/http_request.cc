#include "server/http/http_request.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <iterator>
#include <utility>

#include "server/cat.h"
#include "server/http/request_head.h"

namespace latentd {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Clock = std::chrono::steady_clock;

// A chunk size line with its extensions, or all trailers, at most.
constexpr size_t kMaxChunkLineBytes = 16 << 10;
// The shortest end of a chunked body ("0\r\n\r\n"): with less, there is nothing to finish, and
// Beast's parser must not see part of it twice.
constexpr size_t kMinChunkedInput = 5;

class Reader {
 public:
  Reader(Connection* connection, const ReadOptions& options)
      : connection_(*connection), options_(options), limits_(*options.limits) {
    parser_.header_limit(static_cast<uint32_t>(limits_.max_header_bytes));
    parser_.body_limit(boost::none);  // a length is looked at first, chunks are counted later
  }
  ~Reader() { options_.bodies->held -= body_bytes_; }
  Reader(const Reader&) = delete;

  // Each step is true when the next may follow; else result_ says why not.
  asio::awaitable<bool> AwaitFirstByte();
  asio::awaitable<bool> ReadHead();
  bool CheckHead();
  asio::awaitable<bool> AllowBody();
  asio::awaitable<bool> ReadBody();

  ReadResult Take() { return std::move(result_); }
  void Complete() {
    result_.complete = true;
    result_.request.received = Clock::now();
    result_.request.body = std::move(parser_.get().body());
  }

 private:
  bool Fail(int status, std::string_view message) {
    result_.error = DoorError(status, message);
    return false;
  }
  bool HoldBody();
  bool CheckChunkLine();
  bool FailParse(const boost::system::error_code& error);
  void SkipBlankLines();
  bool LooksLikeHttp();

  Connection& connection_;
  const ReadOptions& options_;
  const DoorLimits& limits_;
  Connection::TimePoint header_deadline_;
  size_t scanned_ = 0;     // of the head, by LooksLikeHttp
  size_t body_bytes_ = 0;  // our share of options_.bodies
  size_t announced_ = 0;   // by the sizes of the chunks so far
  http::request_parser<http::string_body> parser_;
  ReadResult result_;
};

// A client may send empty lines before a request (RFC 9112, 2.2).
void Reader::SkipBlankLines() {
  size_t skip = 0;
  while (connection_.input().substr(skip, 2) == "\r\n") skip += 2;
  if (skip > 0) connection_.Consume(skip);
}

asio::awaitable<bool> Reader::AwaitFirstByte() {
  const Clock::duration patience =
      options_.first ? Clock::duration(limits_.header_timeout) : limits_.idle_timeout;
  const Connection::TimePoint start = Clock::now();
  for (;;) {
    SkipBlankLines();
    if (!connection_.input().empty() && connection_.input() != "\r") break;
    if (connection_.ended() || options_.closing()) co_return false;
    if (!co_await connection_.Wait(start + patience)) co_return false;
  }
  header_deadline_ = (options_.first ? start : Clock::now()) + limits_.header_timeout;
  co_return true;
}

// Refuses at once what can never become a head: otherwise a TLS greeting or bare line feeds would
// be waited on until the header is overdue.
bool Reader::LooksLikeHttp() {
  const std::string_view input = connection_.input();
  if (!input.empty() && !IsTokenChar(input[0])) return Fail(400, "this is not an HTTP/1.1 request");
  for (; scanned_ < input.size(); ++scanned_) {
    if (input[scanned_] == '\n' && (scanned_ == 0 || input[scanned_ - 1] != '\r')) {
      return Fail(400, "lines of the header must end with CR LF");
    }
    if (input.substr(0, scanned_ + 1).ends_with("\r\n\r\n")) break;
  }
  return true;
}

asio::awaitable<bool> Reader::ReadHead() {
  for (;;) {
    if (!LooksLikeHttp()) co_return false;
    boost::system::error_code error;
    const std::string_view input = connection_.input();
    const size_t used = parser_.put(asio::buffer(input.data(), input.size()), error);
    connection_.Consume(used);
    if (error && error != http::error::need_more) co_return FailParse(error);
    if (parser_.is_header_done()) co_return true;
    if (connection_.ended()) co_return false;
    if (!co_await connection_.Wait(header_deadline_)) {
      co_return Fail(408, "the header did not arrive in time");
    }
  }
}

bool Reader::FailParse(const boost::system::error_code& error) {
  if (error == http::error::header_limit) {
    return Fail(431, Cat("the header must be at most ", limits_.max_header_bytes, " bytes"));
  }
  if (error == http::error::body_limit) {
    return Fail(413, Cat("the body must be at most ", limits_.max_body_bytes, " bytes"));
  }
  return Fail(400, Cat("malformed HTTP request: ", error.message()));
}

bool Reader::CheckHead() {
  const auto& head = parser_.get();
  HttpRequest& request = result_.request;
  const auto text = [](const auto& view) { return std::string(view.data(), view.size()); };
  request.method = text(head.method_string());
  request.http10 = head.version() < 11;
  request.keep_alive = head.keep_alive();
  request.has_body = parser_.chunked() || parser_.content_length().value_or(0) > 0;
  request.content_type = text(head[http::field::content_type]);
  request.content_encoding = text(head[http::field::content_encoding]);
  const auto num_lines = static_cast<size_t>(std::distance(head.begin(), head.end()));
  if (num_lines > limits_.max_header_lines) {
    return Fail(431, Cat("the header must be at most ", limits_.max_header_lines, " lines"));
  }
  result_.error = CheckHost(head);
  if (!result_.error) result_.error = CheckFraming(head, parser_.chunked());
  if (result_.error) return false;
  request.path = TargetPath(head);
  if (request.path.empty()) return Fail(400, "the request target must be a path");
  result_.error = options_.check_head(request);
  result_.in_sync = !request.has_body;
  if (result_.error) return false;
  if (parser_.content_length().value_or(0) > limits_.max_body_bytes) {
    return FailParse(http::error::body_limit);
  }
  return true;
}

asio::awaitable<bool> Reader::AllowBody() {
  const auto& head = parser_.get();
  const bool asked = head.version() >= 11 && connection_.input().empty() &&
                     result_.request.has_body &&
                     beast::iequals(head[http::field::expect], "100-continue");
  if (!asked) co_return true;
  co_return co_await connection_.Write("HTTP/1.1 100 Continue\r\n\r\n", /*while_there=*/false);
}

// Each body is bounded, but there may be as many as connections.
bool Reader::HoldBody() {
  BodyBytes& bodies = *options_.bodies;
  bodies.held -= body_bytes_;
  body_bytes_ = parser_.get().body().size();
  bodies.held += body_bytes_;
  return bodies.held <= bodies.max || Fail(503, "the server is full: too many bodies at once");
}

// Where input begins with a chunk's size or the trailers, refuses a line that ends with a bare line
// feed: the parser would wait for a better end. What follows the line of a chunk that is not the
// last is its data.
bool Reader::CheckChunkLine() {
  if (!parser_.chunked() || parser_.get().body().size() < announced_) return true;
  std::string_view input = connection_.input();
  if (input.starts_with("\r\n")) input.remove_prefix(2);  // the end of the chunk before
  bool last = false;
  for (size_t begin = 0, end; (end = input.find('\n', begin)) != input.npos; begin = end + 1) {
    if (end == begin || input[end - 1] != '\r') {
      return Fail(400, "malformed HTTP request: lines of a chunked body must end with CR LF");
    }
    if (end == begin + 1) break;  // the empty line that ends the trailers
    if (begin == 0) last = input.find_first_not_of('0') == input.find_first_of(";\r");
    if (!last) break;
  }
  return true;
}

asio::awaitable<bool> Reader::ReadBody() {
  const Connection::TimePoint deadline = Clock::now() + limits_.body_timeout;
  parser_.body_limit(limits_.max_body_bytes);
  parser_.eager(true);
  size_t needed = parser_.chunked() ? kMinChunkedInput : 1;
  auto on_chunk = [this](uint64_t size, const auto& /*extensions*/, const auto& /*error*/) {
    announced_ += size;
  };
  parser_.on_chunk_header(on_chunk);
  while (!parser_.is_done()) {
    if (!CheckChunkLine()) co_return false;
    const std::string_view input = connection_.input();
    if (input.size() < needed) {
      if (connection_.ended()) co_return false;
      if (!co_await connection_.Wait(deadline)) {
        co_return Fail(408, "the body did not arrive in time");
      }
      continue;
    }
    boost::system::error_code error;
    const size_t used = parser_.put(asio::buffer(input.data(), input.size()), error);
    if (error && error != http::error::need_more) co_return FailParse(error);
    if (!HoldBody()) co_return false;
    const size_t left = input.size() - used;
    connection_.Consume(used);
    if (left > kMaxChunkLineBytes && !parser_.is_done()) {
      co_return Fail(400, "malformed HTTP request: a chunk's extensions or trailers are too long");
    }
    needed = std::max(parser_.chunked() ? kMinChunkedInput : 1, left + 1);
  }
  co_return true;
}

}  // namespace

asio::awaitable<ReadResult> ReadRequest(Connection* connection, ReadOptions options) {
  Reader reader(connection, options);
  // One co_await an expression: g++ 12 does not stop at the first false of a && b with two.
  bool ok = co_await reader.AwaitFirstByte();
  if (ok) ok = co_await reader.ReadHead();
  if (ok) ok = reader.CheckHead();
  if (ok) ok = co_await reader.AllowBody();
  if (ok) ok = co_await reader.ReadBody();
  if (ok) reader.Complete();
  co_return reader.Take();
}

}  // namespace latentd
