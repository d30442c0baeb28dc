#include "server/cli/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "server/cat.h"

namespace latentd {
namespace {

constexpr size_t kPart = size_t{1} << 16;

absl::Status CannotRead(std::string_view what, const std::string& path, int error) {
  return absl::NotFoundError(Cat(what, " ", path, " cannot be read: ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<std::string> ReadWholeFile(std::string_view what, const std::string& path,
                                          size_t max_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CannotRead(what, path, errno);
  std::string content;
  ssize_t got = 1;
  int error = 0;
  // One byte more than allowed tells a file that ends there from one that does not.
  while (got > 0 && content.size() <= max_bytes) {
    const size_t size = content.size();
    const size_t part = std::min(kPart, max_bytes + 1 - size);
    content.resize(size + part);
    do {
      got = read(fd, content.data() + size, part);
    } while (got < 0 && errno == EINTR);
    if (got < 0) error = errno;
    content.resize(size + static_cast<size_t>(std::max<ssize_t>(got, 0)));
  }
  close(fd);
  if (error != 0) return CannotRead(what, path, error);
  if (content.size() > max_bytes) {
    return absl::NotFoundError(Cat(what, " ", path, " is longer than ", max_bytes, " bytes"));
  }
  return content;
}

}  // namespace latentd
