#include "engine/text/model_files.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace latentd {
namespace {

constexpr uintmax_t kMaxFileBytes = uintmax_t{256} << 20;
constexpr int kMaxJsonDepth = 100;

}  // namespace

absl::StatusOr<std::string> ReadModelFile(const std::string& model_dir, std::string_view name) {
  const std::filesystem::path path = std::filesystem::path(model_dir) / name;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat(path.string(), " does not exist"));
  }
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " is not a regular file"));
  }
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error || size > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), " cannot be read, or is longer than 256 MiB"));
  }
  std::string contents(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(contents.data(), static_cast<std::streamsize>(size))) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), " cannot be read"));
  }
  return contents;
}

absl::StatusOr<std::string> ReadOptionalModelFile(const std::string& model_dir,
                                                  std::string_view name) {
  absl::StatusOr<std::string> contents = ReadModelFile(model_dir, name);
  if (absl::IsNotFound(contents.status())) return std::string();
  return contents;
}

absl::StatusOr<nlohmann::ordered_json> ParseModelJson(std::string_view contents,
                                                      std::string_view name) {
  using Json = nlohmann::ordered_json;
  if (contents.empty()) return Json();
  // Deep values are cut out while parsing: they would be freed by recursion.
  bool too_deep = false;
  const auto callback = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxJsonDepth) too_deep = true;
    return depth <= kMaxJsonDepth;
  };
  Json json = Json::parse(contents, callback, /*allow_exceptions=*/false);
  if (json.is_discarded() || too_deep || !json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        std::string(name), " is not a JSON object, or is nested deeper than ", kMaxJsonDepth));
  }
  return json;
}

}  // namespace latentd
