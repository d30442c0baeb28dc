#include "tests/server/http/raw_client.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "server/cat.h"

namespace latentd {
namespace {

constexpr int kPatienceMs = 20000;

void AwaitReady(int fd, short events) {
  pollfd poll_fd{fd, events, 0};
  if (poll(&poll_fd, 1, kPatienceMs) <= 0) throw std::runtime_error("the server hangs");
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

RawClient::RawClient(int port, int receive_buffer) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
  if (receive_buffer > 0) {
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    throw std::runtime_error("cannot connect");
  }
}

RawClient::~RawClient() { close(fd_); }

bool RawClient::TrySend(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void RawClient::Send(std::string_view bytes) {
  if (!TrySend(bytes)) throw std::runtime_error("the server closed while it was sent to");
}

void RawClient::CloseSend() { shutdown(fd_, SHUT_WR); }

void RawClient::Reset() {
  const linger hard{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  close(fd_);
  fd_ = socket(AF_INET, SOCK_STREAM, 0);
}

bool RawClient::Fill() {
  AwaitReady(fd_, POLLIN);
  char chunk[65536];
  const ssize_t size = recv(fd_, chunk, sizeof(chunk), 0);
  if (size < 0) throw std::runtime_error(errno == ECONNRESET ? "reset" : "cannot read");
  buffer_.append(chunk, static_cast<size_t>(size));
  return size > 0;
}

std::string RawClient::Take(size_t num_bytes) {
  while (buffer_.size() < num_bytes) {
    if (!Fill()) throw std::runtime_error("the answer is cut: " + buffer_);
  }
  std::string taken = buffer_.substr(0, num_bytes);
  buffer_.erase(0, num_bytes);
  return taken;
}

std::string RawClient::ReadUntil(std::string_view mark) {
  size_t at = 0;
  while ((at = buffer_.find(mark)) == std::string::npos) {
    if (!Fill()) throw std::runtime_error("the answer is cut: " + buffer_);
  }
  return Take(at + mark.size());
}

std::string RawClient::ReadToEnd() {
  while (Fill()) {
  }
  return std::move(buffer_);
}

bool RawClient::AtEnd() { return buffer_.empty() && !Fill(); }

RawResponse RawClient::Read(bool head) {
  RawResponse response;
  const std::string start = ReadUntil("\r\n");
  if (start.rfind("HTTP/1.1 ", 0) != 0) throw std::runtime_error("bad status line: " + start);
  response.status = std::stoi(start.substr(9, 3));
  for (std::string line = ReadUntil("\r\n"); line != "\r\n"; line = ReadUntil("\r\n")) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) throw std::runtime_error("bad header: " + line);
    const std::string name = Lower(line.substr(0, colon));
    if (response.headers.count(name) != 0) throw std::runtime_error("repeated header: " + name);
    response.headers[name] = line.substr(colon + 2, line.size() - colon - 4);
  }
  if (head || response.status == 100) return response;
  if (response.headers.count("content-length") != 0) {
    response.body = Take(std::stoul(response.headers["content-length"]));
  } else if (response.headers.count("transfer-encoding") != 0) {
    response.chunked = true;
    for (;;) {
      const size_t size = std::stoul(ReadUntil("\r\n"), nullptr, 16);
      response.body += Take(size);
      if (Take(2) != "\r\n") throw std::runtime_error("bad chunk");
      if (size == 0) break;
    }
  } else {
    response.body = ReadToEnd();
  }
  return response;
}

std::string Post(std::string_view path, std::string_view body, std::string_view more_headers) {
  return Cat("POST ", path, " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n",
             more_headers, "Content-Length: ", body.size(), "\r\n\r\n", body);
}

std::string Get(std::string_view path, std::string_view more_headers) {
  return Cat("GET ", path, " HTTP/1.1\r\nHost: x\r\n", more_headers, "\r\n");
}

std::string EventData(const std::string& body) {
  std::string data;
  size_t at = 0;
  while (at < body.size()) {
    const size_t end = body.find("\n\n", at);
    if (body.compare(at, 6, "data: ") != 0 || end == std::string::npos) {
      throw std::runtime_error("bad event: " + body.substr(at));
    }
    data += body.substr(at + 6, end - at - 6) + "\n";
    at = end + 2;
  }
  return data;
}

}  // namespace latentd
