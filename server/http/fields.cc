#include "server/http/fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "server/cat.h"
#include "server/errors.h"

namespace latentd {
namespace {

constexpr double kTwoTo63 = 9223372036854775808.0;

// Integers that 64 bits cannot hold arrive from the parser as double.
bool IsHugeInteger(const Json& value) {
  return value.is_number_float() && std::fabs(value.get<double>()) >= kTwoTo63;
}

absl::Status Must(const Json& value, std::string_view name, std::string_view requirement) {
  return BadField(name, Cat(name, " must ", requirement, ", got ", DumpJson(value)));
}

absl::Status NeedInteger(const Json& value, std::string_view name) {
  if (value.is_number_integer()) return absl::OkStatus();
  if (IsHugeInteger(value)) return Must(value, name, "be an integer of at most 64 bits");
  if (value.is_number_float()) return Must(value, name, "be an integer");
  return WrongType(value, name, "an integer");
}

template <typename T, typename Reader>
absl::Status ReadList(const Json& value, std::string_view name, Reader read, std::vector<T>* out) {
  if (auto status = NeedArray(value, name); !status.ok()) return status;
  std::vector<T> list(value.size());
  for (size_t i = 0; i < value.size(); ++i) {
    if (auto status = read(value[i], "", &list[i]); !status.ok()) {
      return read(value[i], ElementName(name, i), &list[i]);  // the name only where it is needed
    }
  }
  *out = std::move(list);
  return absl::OkStatus();
}

}  // namespace

absl::Status WrongType(const Json& value, std::string_view name, std::string_view what) {
  return WrongType(name, what, JsonTypeName(value));
}

std::string ElementName(std::string_view name, size_t idx) { return Cat(name, "[", idx, "]"); }

std::string ShownName(std::string_view name) {
  constexpr size_t kMaxBytes = 80;
  const std::string quoted = DumpJson(Json(name.substr(0, kMaxBytes)));
  return quoted.substr(1, quoted.size() - 2) + (name.size() > kMaxBytes ? "…" : "");
}

absl::Status NeedArray(const Json& value, std::string_view name) {
  return value.is_array() ? absl::OkStatus() : WrongType(value, name, "an array");
}

absl::Status NeedObject(const Json& value, std::string_view name) {
  return value.is_object() ? absl::OkStatus() : WrongType(value, name, "an object");
}

absl::Status ReadBool(const Json& value, std::string_view name, bool* out) {
  if (!value.is_boolean()) return WrongType(value, name, "true or false");
  *out = value.get<bool>();
  return absl::OkStatus();
}

absl::Status ReadString(const Json& value, std::string_view name, std::string* out) {
  if (!value.is_string()) return WrongType(value, name, "a string");
  *out = value.get_ref<const std::string&>();
  return absl::OkStatus();
}

absl::Status ReadUint32(const Json& value, std::string_view name, uint32_t* out) {
  if (auto status = NeedInteger(value, name); !status.ok()) return status;
  if (!value.is_number_unsigned() && value.get<int64_t>() < 0) {
    return Must(value, name, "not be negative");
  }
  const uint64_t wide = value.get<uint64_t>();
  if (wide > std::numeric_limits<uint32_t>::max()) {
    return Must(value, name, "be at most 4294967295");
  }
  *out = static_cast<uint32_t>(wide);
  return absl::OkStatus();
}

absl::Status ReadInt32(const Json& value, std::string_view name, int32_t* out) {
  if (auto status = NeedInteger(value, name); !status.ok()) return status;
  constexpr int64_t kMin = std::numeric_limits<int32_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  if (value.is_number_unsigned() ? value.get<uint64_t>() > static_cast<uint64_t>(kMax)
                                 : value.get<int64_t>() < kMin) {
    return Must(value, name, "be an integer from -2147483648 to 2147483647");
  }
  *out = static_cast<int32_t>(value.get<int64_t>());
  return absl::OkStatus();
}

absl::Status ReadSeed(const Json& value, std::string_view name, uint64_t* out) {
  if (auto status = NeedInteger(value, name); !status.ok()) return status;
  *out = value.is_number_unsigned() ? value.get<uint64_t>()
                                    : static_cast<uint64_t>(value.get<int64_t>());
  return absl::OkStatus();
}

absl::Status ReadDouble(const Json& value, std::string_view name, double* out) {
  if (!value.is_number()) return WrongType(value, name, "a number");
  *out = value.get<double>();
  return absl::OkStatus();
}

absl::Status ReadFloat(const Json& value, std::string_view name, float* out) {
  double wide = 0;
  if (auto status = ReadDouble(value, name, &wide); !status.ok()) return status;
  constexpr double kMax = std::numeric_limits<float>::max();
  constexpr double kBeyond = 0x1.ffffffp127;  // from here on the nearest float32 is infinite
  if (std::fabs(wide) >= kBeyond) {
    return OutOfRange(name, "within the range of float32 (±3.4028235e38)", DumpJson(value));
  }
  *out = static_cast<float>(std::clamp(wide, -kMax, kMax));
  return absl::OkStatus();
}

absl::Status ReadUint32List(const Json& value, std::string_view name, std::vector<uint32_t>* out) {
  return ReadList(value, name, ReadUint32, out);
}

absl::Status ReadStringOrList(const Json& value, std::string_view name,
                              std::vector<std::string>* out) {
  if (value.is_string()) {
    *out = {value.get<std::string>()};
    return absl::OkStatus();
  }
  if (!value.is_array()) return WrongType(value, name, "a string or an array of strings");
  return ReadList(value, name, ReadString, out);
}

}  // namespace latentd
