// All tensors of a model folder, by name.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/safetensors.h"

namespace latentd {

// A tensor's description and where its bytes are mapped.
struct StoredTensor {
  const TensorEntry* entry = nullptr;
  const std::byte* data = nullptr;
  const std::string* file = nullptr;  // name inside the folder
};

// The safetensors files of a folder, mapped and checked. Immutable; owns the mappings and the
// entries that its tensors point to, so keep it where it is (it does not move once opened).
class Checkpoint {
 public:
  // With model.safetensors.index.json: the files it names, and every tensor where it says.
  // Otherwise model.safetensors, otherwise every *.safetensors. No tensor may occur twice. Errors
  // begin with the file's name.
  static absl::StatusOr<std::unique_ptr<const Checkpoint>> Open(const std::string& dir);

  virtual ~Checkpoint() = default;

  // The tensor that a model needs, for the reader of its weights; what is wrong with its shape the
  // reader says. Null when there is none of that name.
  virtual const StoredTensor* Request(const std::string& name,
                                      const std::vector<uint64_t>& shape) const;
  // Null when there is none of that name.
  const StoredTensor* Find(const std::string& name) const;
  const std::unordered_map<std::string_view, StoredTensor>& tensors() const { return tensors_; }
  // The file to name when a tensor is missing from all of them.
  const std::string& label() const { return label_; }

 protected:
  Checkpoint() = default;
  void set_label(std::string label) { label_ = std::move(label); }

 private:
  absl::Status Add(SafetensorsFile file);
  absl::Status OpenIndexed(const std::string& dir, std::string_view index_text);
  absl::Status OpenFiles(const std::string& dir, const std::vector<std::string>& names);

  std::vector<std::unique_ptr<const SafetensorsFile>> files_;
  std::unordered_map<std::string_view, StoredTensor> tensors_;
  std::string label_;
};

}  // namespace latentd
