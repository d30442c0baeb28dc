// The JSON of a safetensors header, read without building a document.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/safetensors.h"

namespace latentd {

// Entries as written: the JSON, keys and dtypes are checked, sizes and ranges are not yet.
absl::StatusOr<std::vector<TensorEntry>> ReadHeaderEntries(std::string_view header);

}  // namespace latentd
