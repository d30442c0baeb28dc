// One error table for both doors. An error is an absl::Status whose payload is a
// latentd.v1.ErrorDetail.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "latentd/v1/latentd.pb.h"

namespace latentd {

inline constexpr std::string_view kInvalidJson = "invalid_json";  // the code of broken JSON

// Messages are one line of at most 800 characters, name the field as HTTP spells it and the limit,
// and hold no internals. param: the field, or "" for none. code: OpenAI's error code, or "".
absl::Status BadField(std::string_view param, std::string_view message, std::string_view code = "");
// "<field> must be <requirement>, got <value>": the one wording for a value out of range. A door
// uses it for what the message cannot carry (a negative number, a wrong type).
absl::Status OutOfRange(std::string_view param, std::string_view requirement,
                        std::string_view value);
// "<field> must be <what>, not <got>": the one wording for a JSON value of a wrong type.
absl::Status WrongType(std::string_view param, std::string_view what, std::string_view got);
// 404 with code model_not_found.
absl::Status UnknownModel(std::string_view model, std::string_view served);
// RESOURCE_EXHAUSTED, 503: the server is full. retry_after_seconds >= 1.
absl::Status Full(std::string_view message, uint32_t retry_after_seconds);
// UNAVAILABLE, 503, with "drain" in the message.
absl::Status Draining();

// The payload, or what the status code implies when there is none (type, HTTP status, retry-after).
v1::ErrorDetail DetailOf(const absl::Status& status);
// A status of any origin (engine, text, …) turned into one that a caller may see: one clean line
// with its payload. Of a fault of ours (INTERNAL, UNKNOWN, …) only that it happened is told. Ours
// pass unchanged.
absl::Status ForCaller(const absl::Status& status);

}  // namespace latentd
