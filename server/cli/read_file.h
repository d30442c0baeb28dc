// Files that a person names on the command line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace latentd {

// The whole content of a file or pipe. `what` opens the sentence of an error ("config file").
// NOT_FOUND names the path and the reason: it cannot be opened or read (a folder, say), or it holds
// more than `max_bytes`, which bounds what an endless one costs.
absl::StatusOr<std::string> ReadWholeFile(std::string_view what, const std::string& path,
                                          size_t max_bytes);

}  // namespace latentd
