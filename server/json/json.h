// Strict JSON for untrusted bodies: RFC 8259 in UTF-8, and refused besides: duplicate keys
// (compared after unescaping), numbers beyond double, lone surrogates, deep nesting.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace latentd {

// Objects keep the order of their keys: chat templates print what they are given.
using Json = nlohmann::ordered_json;

// Integers from -2^63 to 2^64 - 1 are exact; every other number is a finite double. Arrays and
// objects nest at most max_depth deep, `outer_depth` of them around the text. INVALID_ARGUMENT with
// one short sentence, without the body's raw bytes. Takes O(n log n) time in the body's size
// whatever it holds.
absl::StatusOr<Json> ParseJson(std::string_view text, size_t max_depth, size_t outer_depth = 0);

// One line. Never throws: bytes that are no UTF-8 become U+FFFD.
std::string DumpJson(const Json& value);

// Appends the text of a string as DumpJson writes it, without the quotes around it.
void AppendJsonText(std::string_view text, std::string* out);

// "a string", "null", "an array", …: for messages.
std::string_view JsonTypeName(const Json& value);

}  // namespace latentd
