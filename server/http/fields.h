// Readers of single JSON values into protobuf's types, without any coercion. Ranges of meaning (n
// at most 128, …) belong to the validator behind the service; these know only what the type can
// hold.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/json/json.h"

namespace latentd {

// `name` is the field as HTTP spells it ("messages[0].role"); it starts the message and is the
// error's param. On error *out is unchanged.
absl::Status ReadBool(const Json& value, std::string_view name, bool* out);
absl::Status ReadString(const Json& value, std::string_view name, std::string* out);
absl::Status ReadUint32(const Json& value, std::string_view name, uint32_t* out);
absl::Status ReadInt32(const Json& value, std::string_view name, int32_t* out);
// 64 bits exactly; a negative number is its two's complement.
absl::Status ReadSeed(const Json& value, std::string_view name, uint64_t* out);
absl::Status ReadDouble(const Json& value, std::string_view name, double* out);
// The nearest float; beyond float's range it is infinite, which the validator refuses.
absl::Status ReadFloat(const Json& value, std::string_view name, float* out);
absl::Status ReadUint32List(const Json& value, std::string_view name, std::vector<uint32_t>* out);
// A string alone is a list of one.
absl::Status ReadStringOrList(const Json& value, std::string_view name,
                              std::vector<std::string>* out);
absl::Status NeedArray(const Json& value, std::string_view name);
absl::Status NeedObject(const Json& value, std::string_view name);

// "name must be WHAT, not TYPE".
absl::Status WrongType(const Json& value, std::string_view name, std::string_view what);
// A name out of a body, short and on one line.
std::string ShownName(std::string_view name);
// "name[idx]"
std::string ElementName(std::string_view name, size_t idx);

}  // namespace latentd
