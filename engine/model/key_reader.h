// Typed reads of a JSON object's keys.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/model/message.h"

namespace latentd {

// Reads keys of one object and keeps the first fault: every call gives some value inside its
// bounds, and the caller looks at the status once, before using any. Null means absent. Borrows the
// object and the status.
class KeyReader {
 public:
  // Messages read "file: prefix + key …"; prefix is empty or ends with a dot.
  KeyReader(const nlohmann::json& object, std::string file, std::string prefix,
            absl::Status* status);

  bool ok() const { return status_->ok(); }
  bool Has(const char* key) const;
  bool IsNull(const char* key) const;  // present, with the value null

  // Required.
  int64_t Int(const char* key, int64_t min, int64_t max);
  std::string String(const char* key);
  // `fallback` when absent.
  int64_t IntOr(const char* key, int64_t min, int64_t max, int64_t fallback);
  double NumberOr(const char* key, double min, double max, double fallback);
  bool BoolOr(const char* key, bool fallback);
  std::string StringOr(const char* key, std::string fallback);
  // Absent: empty.
  std::optional<double> Number(const char* key, double min, double max);
  std::vector<int64_t> Ints(const char* key, int64_t min, int64_t max);
  std::optional<KeyReader> Object(const char* key);

  // Faults every key that is not in `known`.
  void RefuseOthers(const std::vector<std::string>& known);
  // "file: key what".
  void Fail(const char* key, const std::string& what);
  // The key's value as it stands in the file, cut for a message.
  std::string Text(const char* key) const;

  const nlohmann::json& object() const { return *object_; }

 private:
  const nlohmann::json* Find(const char* key) const;
  std::string Got(const nlohmann::json& value) const;
  int64_t ToInt(const char* key, const nlohmann::json& value, int64_t min, int64_t max);

  const nlohmann::json* object_;
  std::string file_;
  std::string prefix_;
  absl::Status* status_;
};

}  // namespace latentd
