// Small files of a model folder, read whole.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace latentd {

// The contents of `model_dir`/`name`. NOT_FOUND: there is no such file. INVALID_ARGUMENT: it is not
// a regular file, cannot be read, or is longer than 256 MiB.
absl::StatusOr<std::string> ReadModelFile(const std::string& model_dir, std::string_view name);

// The same, but empty where there is no such file.
absl::StatusOr<std::string> ReadOptionalModelFile(const std::string& model_dir,
                                                  std::string_view name);

// A JSON object from the contents of file `name`; null from empty contents. INVALID_ARGUMENT names
// the file. Keys keep their order.
absl::StatusOr<nlohmann::ordered_json> ParseModelJson(std::string_view contents,
                                                      std::string_view name);

}  // namespace latentd
