// JSON as the files of a model folder must be: RFC 8259, no duplicate keys, bounded nesting.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace latentd {

// Parses one document. Refused: anything outside RFC 8259 (so NaN and Infinity), numbers beyond
// double, text that is not UTF-8, a key given twice in one object, more than `max_depth` levels or
// about a million values.
// The message names the last key read and begins with no file name; callers add theirs.
absl::StatusOr<nlohmann::json> ParseStrictJson(std::string_view text, int max_depth = 32);

// What the JSON library says, without its own prefix, fit for an error message.
std::string JsonErrorText(std::string_view parser_message);

}  // namespace latentd
