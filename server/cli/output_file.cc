#include "server/cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/core/check.h"
#include "server/cat.h"

namespace latentd {

OutputFile::~OutputFile() {
  if (fd_ < 0) return;
  close(fd_);
  if (remove_) unlink(path_.c_str());
}

absl::Status OutputFile::Open(std::string_view flag, const std::string& path) {
  LATENTD_CHECK(fd_ < 0);
  path_ = path;
  fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  remove_ = fd_ >= 0;
  if (fd_ < 0 && errno == EEXIST) {
    // O_CREAT again: a link may point at a file that is yet to be made.
    fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  }
  if (fd_ >= 0) return absl::OkStatus();
  return absl::PermissionDeniedError(
      Cat(flag, " ", path, " cannot be written: ", std::strerror(errno)));
}

absl::Status OutputFile::Write(std::string_view content) {
  LATENTD_CHECK(fd_ >= 0);
  struct stat info;
  bool good = fstat(fd_, &info) == 0;
  // A pipe or a terminal has nothing to cut.
  if (good && S_ISREG(info.st_mode)) good = ftruncate(fd_, 0) == 0;
  while (good && !content.empty()) {
    const ssize_t written = write(fd_, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    good = written > 0;
    if (good) content.remove_prefix(static_cast<size_t>(written));
  }
  if (!good) {
    return absl::DataLossError(Cat(path_, " cannot be written: ", std::strerror(errno)));
  }
  remove_ = false;
  return absl::OkStatus();
}

}  // namespace latentd
