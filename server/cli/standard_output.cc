#include "server/cli/standard_output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "server/cat.h"

namespace latentd {

absl::Status WriteToStdout(std::string_view text) {
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (std::fflush(stdout) == 0 && written) return absl::OkStatus();
  return absl::DataLossError(Cat("stdout cannot be written: ", std::strerror(errno)));
}

}  // namespace latentd
