#include "server/grpc/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace latentd {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

absl::Status CannotListen(const std::string& address, const char* why) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", why));
}

absl::StatusOr<std::pair<std::string, std::string>> Split(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is not ADDRESS:PORT with a port of 0 to 65535"));
  }
  std::string host = address.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return std::make_pair(host, absl::StrCat(port));
}

// 0, or the errno of a bind and listen that are undone at once.
int TryToListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));  // as gRPC does: TIME_WAIT is fine
  int error = 0;
  if (bind(fd, address.ai_addr, address.ai_addrlen) != 0 || listen(fd, 1) != 0) error = errno;
  close(fd);
  return error;
}

}  // namespace

absl::StatusOr<std::string> CheckListenAddress(const std::string& address) {
  absl::StatusOr<std::pair<std::string, std::string>> parts = Split(address);
  if (!parts.ok()) return parts.status();
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const char* host = parts->first.empty() ? nullptr : parts->first.c_str();
  const int error = getaddrinfo(host, parts->second.c_str(), &hints, &found);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, FreeAddresses> list(found);
  if (const int code = TryToListen(*list); code != 0) return CannotListen(address, strerror(code));
  char numeric[NI_MAXHOST];
  getnameinfo(list->ai_addr, list->ai_addrlen, numeric, sizeof(numeric), nullptr, 0,
              NI_NUMERICHOST);
  const bool v6 = list->ai_family == AF_INET6;
  return absl::StrCat(v6 ? "[" : "", numeric, v6 ? "]:" : ":", parts->second);
}

std::string WithPort(const std::string& numeric_address, int port) {
  return absl::StrCat(numeric_address.substr(0, numeric_address.rfind(':') + 1), port);
}

}  // namespace latentd
