// A result file that is known to be writable before the work begins.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace latentd {

// Not thread-safe. An existing file keeps its content until Write. A file that Open created is
// removed again when nothing was written.
class OutputFile {
 public:
  OutputFile() = default;
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // PERMISSION_DENIED names the flag, the path and the reason. At most once.
  absl::Status Open(std::string_view flag, const std::string& path);
  bool is_open() const { return fd_ >= 0; }
  // Replaces the content. REQUIRES: is_open.
  absl::Status Write(std::string_view content);

 private:
  std::string path_;
  int fd_ = -1;
  bool remove_ = false;
};

}  // namespace latentd
