#include "engine/model/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "engine/model/message.h"

namespace latentd {
namespace {

absl::Status SystemError(const std::string& name, const char* what, int error) {
  const std::string message = absl::StrCat(Printable(name), ": ", what, ": ", std::strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
}

// Owns a descriptor of a regular file.
struct OpenFile {
  OpenFile() = default;
  OpenFile(OpenFile&& other) noexcept : fd(std::exchange(other.fd, -1)), size(other.size) {}
  ~OpenFile() {
    if (fd >= 0) close(fd);
  }
  int fd = -1;
  uint64_t size = 0;
};

// O_NONBLOCK: a FIFO planted in the folder must not hang the open; it is refused below.
absl::StatusOr<OpenFile> OpenRegular(const std::string& dir, const std::string& name) {
  OpenFile file;
  file.fd = open(absl::StrCat(dir, "/", name).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd < 0) return SystemError(name, "cannot be opened", errno);
  struct stat info;
  if (fstat(file.fd, &info) != 0) return SystemError(name, "cannot be examined", errno);
  if (!S_ISREG(info.st_mode)) {
    return Invalid(Printable(name), ": is not a regular file");
  }
  file.size = static_cast<uint64_t>(info.st_size);
  return file;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& dir,
                                                                   const std::string& name) {
  absl::StatusOr<OpenFile> file = OpenRegular(dir, name);
  if (!file.ok()) return file.status();
  if (file->size == 0) {
    return Invalid(Printable(name), ": is empty");
  }
  void* data = mmap(nullptr, file->size, PROT_READ, MAP_PRIVATE, file->fd, 0);
  if (data == MAP_FAILED) return SystemError(name, "cannot be mapped", errno);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(name, static_cast<const std::byte*>(data), file->size));
}

MappedFile::~MappedFile() { munmap(const_cast<std::byte*>(data_), size_); }

absl::StatusOr<std::string> ReadSmallFile(const std::string& dir, const std::string& name,
                                          uint64_t max_bytes) {
  absl::StatusOr<OpenFile> file = OpenRegular(dir, name);
  if (!file.ok()) return file.status();
  if (file->size > max_bytes) {
    return Invalid(Printable(name), ": is ", file->size, " bytes long, at most ", max_bytes,
                   " are accepted");
  }
  std::string text(file->size, '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = read(file->fd, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return SystemError(name, "cannot be read", errno);
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  text.resize(done);
  return text;
}

bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace latentd
