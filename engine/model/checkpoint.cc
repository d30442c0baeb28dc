#include "engine/model/checkpoint.h"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "engine/model/message.h"
#include "engine/model/strict_json.h"

namespace latentd {
namespace {

constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr char kSingleFile[] = "model.safetensors";
constexpr uint64_t kMaxIndexBytes = 32 << 20;

// tensor → file, as the index says.
using WeightMap = std::map<std::string, std::string>;

absl::StatusOr<WeightMap> ParseIndex(std::string_view text) {
  const auto fault = [](const auto&... parts) { return Invalid(kIndexFile, ": ", parts...); };
  absl::StatusOr<nlohmann::json> json = ParseStrictJson(text);
  if (!json.ok()) return fault(json.status().message());
  if (!json->is_object() || !json->contains("weight_map") || !(*json)["weight_map"].is_object()) {
    return fault("must be an object with an object weight_map");
  }
  WeightMap files;
  for (const auto& item : (*json)["weight_map"].items()) {
    if (!item.value().is_string()) {
      return fault("weight_map must name a file for tensor '", Printable(item.key()), "'");
    }
    const std::string& file = item.value().get_ref<const std::string&>();
    if (!IsPlainFileName(file) || !absl::EndsWith(file, ".safetensors")) {
      return fault("weight_map sends tensor '", Printable(item.key()), "' to '", Printable(file),
                   "', which is not the plain name of a .safetensors file in the folder");
    }
    files.emplace(item.key(), file);
  }
  if (files.empty()) return fault("weight_map is empty");
  return files;
}

// Names ending in .safetensors, sorted.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& dir) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(dir.c_str()), closedir);
  if (folder == nullptr) return Invalid("the folder cannot be read: ", std::strerror(errno));
  std::vector<std::string> names;
  while (const dirent* entry = readdir(folder.get())) {
    if (absl::EndsWith(entry->d_name, ".safetensors")) names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Checkpoint>> Checkpoint::Open(const std::string& dir) {
  std::unique_ptr<Checkpoint> checkpoint(new Checkpoint());
  absl::StatusOr<std::string> index = ReadSmallFile(dir, kIndexFile, kMaxIndexBytes);
  absl::Status status;
  if (index.ok()) {
    status = checkpoint->OpenIndexed(dir, *index);
  } else if (!absl::IsNotFound(index.status())) {
    return index.status();
  } else {
    absl::StatusOr<std::vector<std::string>> names = ListFiles(dir);
    if (!names.ok()) return names.status();
    if (std::count(names->begin(), names->end(), kSingleFile) != 0) *names = {kSingleFile};
    if (names->empty()) return absl::NotFoundError(absl::StrCat(kSingleFile, ": does not exist"));
    checkpoint->label_ = names->size() == 1 ? names->front() : "*.safetensors";
    status = checkpoint->OpenFiles(dir, *names);
  }
  if (!status.ok()) return status;
  return checkpoint;
}

absl::Status Checkpoint::OpenFiles(const std::string& dir, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    absl::StatusOr<SafetensorsFile> file = OpenSafetensors(dir, name);
    if (!file.ok()) return file.status();
    if (absl::Status status = Add(*std::move(file)); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::Add(SafetensorsFile opened) {
  files_.push_back(std::make_unique<const SafetensorsFile>(std::move(opened)));
  const SafetensorsFile& file = *files_.back();
  for (const TensorEntry& entry : file.tensors) {
    const StoredTensor tensor{&entry, file.data + entry.begin, &file.file->name()};
    const auto [twin, is_new] = tensors_.emplace(entry.name, tensor);
    if (!is_new) {
      return Invalid(Printable(file.file->name()), ": tensor '", Printable(entry.name), "' is in ",
                     Printable(*twin->second.file), " too");
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::OpenIndexed(const std::string& dir, std::string_view index_text) {
  label_ = kIndexFile;
  absl::StatusOr<WeightMap> files = ParseIndex(index_text);
  if (!files.ok()) return files.status();
  std::vector<std::string> names;
  for (const auto& [tensor, file] : *files) names.push_back(file);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (absl::Status status = OpenFiles(dir, names); !status.ok()) return status;

  for (const auto& [name, file] : *files) {
    const StoredTensor* tensor = Find(name);
    if (tensor == nullptr || *tensor->file != file) {
      return Invalid(kIndexFile, ": weight_map sends tensor '", Printable(name), "' to ",
                     Printable(file), ", which does not have it");
    }
  }
  for (const auto& [name, tensor] : tensors_) {
    if (files->find(std::string(name)) == files->end()) {
      return Invalid(Printable(*tensor.file), ": tensor '", Printable(name), "' is not in ",
                     kIndexFile);
    }
  }
  return absl::OkStatus();
}

const StoredTensor* Checkpoint::Request(const std::string& name,
                                        const std::vector<uint64_t>& /*shape*/) const {
  return Find(name);
}

const StoredTensor* Checkpoint::Find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace latentd
