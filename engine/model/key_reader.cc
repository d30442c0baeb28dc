#include "engine/model/key_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace latentd {

using nlohmann::json;

KeyReader::KeyReader(const json& object, std::string file, std::string prefix, absl::Status* status)
    : object_(&object), file_(std::move(file)), prefix_(std::move(prefix)), status_(status) {}

const json* KeyReader::Find(const char* key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

bool KeyReader::Has(const char* key) const { return Find(key) != nullptr; }

bool KeyReader::IsNull(const char* key) const {
  const auto found = object_->find(key);
  return found != object_->end() && found->is_null();
}

void KeyReader::Fail(const char* key, const std::string& what) {
  if (status_->ok()) *status_ = Invalid(file_, ": ", prefix_, Printable(key), " ", what);
}

std::string KeyReader::Got(const json& value) const {
  if (value.is_array()) return absl::StrCat("a list of ", value.size());
  if (value.is_object()) return "an object";
  if (value.is_string()) {
    return absl::StrCat("'", Printable(value.get_ref<const std::string&>()), "'");
  }
  return Printable(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

std::string KeyReader::Text(const char* key) const {
  const json* value = Find(key);
  return value == nullptr ? "null" : Got(*value);
}

int64_t KeyReader::ToInt(const char* key, const json& value, int64_t min, int64_t max) {
  // The parser keeps whole numbers past int64 as unsigned or as floating point.
  const bool fits = value.is_number_integer() &&
                    !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX});
  if (fits) {
    const int64_t number = value.get<int64_t>();
    if (number >= min && number <= max) return number;
  }
  Fail(key, absl::StrCat("must be a whole number from ", min, " to ", max, ", not ", Got(value)));
  return min;
}

int64_t KeyReader::Int(const char* key, int64_t min, int64_t max) {
  const json* value = Find(key);
  if (value != nullptr) return ToInt(key, *value, min, max);
  Fail(key, absl::StrCat("is missing; it must be a whole number from ", min, " to ", max));
  return min;
}

int64_t KeyReader::IntOr(const char* key, int64_t min, int64_t max, int64_t fallback) {
  const json* value = Find(key);
  return value == nullptr ? fallback : ToInt(key, *value, min, max);
}

std::optional<double> KeyReader::Number(const char* key, double min, double max) {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const double number = value->get<double>();
    if (number >= min && number <= max) return number;
  }
  Fail(key, absl::StrCat("must be a number from ", min, " to ", max, ", not ", Got(*value)));
  return min;
}

double KeyReader::NumberOr(const char* key, double min, double max, double fallback) {
  return Number(key, min, max).value_or(fallback);
}

bool KeyReader::BoolOr(const char* key, bool fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_boolean()) return value->get<bool>();
  Fail(key, absl::StrCat("must be true or false, not ", Got(*value)));
  return fallback;
}

std::string KeyReader::String(const char* key) {
  if (!Has(key)) Fail(key, "is missing; it must be a string");
  return StringOr(key, "");
}

std::string KeyReader::StringOr(const char* key, std::string fallback) {
  const json* value = Find(key);
  if (value == nullptr) return fallback;
  if (value->is_string()) return value->get<std::string>();
  Fail(key, absl::StrCat("must be a string, not ", Got(*value)));
  return fallback;
}

std::vector<int64_t> KeyReader::Ints(const char* key, int64_t min, int64_t max) {
  std::vector<int64_t> numbers;
  const json* value = Find(key);
  if (value == nullptr) return numbers;
  if (!value->is_array()) {
    Fail(key, absl::StrCat("must be a list of whole numbers, not ", Got(*value)));
    return numbers;
  }
  for (const json& item : *value) numbers.push_back(ToInt(key, item, min, max));
  return numbers;
}

std::optional<KeyReader> KeyReader::Object(const char* key) {
  const json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) {
    Fail(key, absl::StrCat("must be an object, not ", Got(*value)));
    return std::nullopt;
  }
  return KeyReader(*value, file_, absl::StrCat(prefix_, key, "."), status_);
}

void KeyReader::RefuseOthers(const std::vector<std::string>& known) {
  for (const auto& item : object_->items()) {
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      Fail(item.key().c_str(), "is not supported");
    }
  }
}

}  // namespace latentd
