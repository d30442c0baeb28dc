// Results on stdout.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace latentd {

// Writes and flushes. DATA_LOSS with the reason: a full disk, say.
absl::Status WriteToStdout(std::string_view text);

}  // namespace latentd
