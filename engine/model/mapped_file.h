// Files of a model folder: small ones read whole, large ones mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace latentd {

// A file mapped read-only for its owner's lifetime. Immutable; any thread.
// A file that somebody truncates while it is mapped cannot be defended against: touching a lost
// page raises SIGBUS. Sizes are checked against the file as it was when opened.
class MappedFile {
 public:
  // Symbolic links are followed (Hugging Face caches are made of them). Errors begin with `name`.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& dir,
                                                                const std::string& name);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& name() const { return name_; }
  const std::byte* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  MappedFile(std::string name, const std::byte* data, uint64_t size)
      : name_(std::move(name)), data_(data), size_(size) {}

  std::string name_;
  const std::byte* data_;
  uint64_t size_;
};

// The whole text of dir/name. NotFound when there is no such file; InvalidArgument when it is not a
// regular file, cannot be read or is larger than max_bytes. Errors begin with `name`.
absl::StatusOr<std::string> ReadSmallFile(const std::string& dir, const std::string& name,
                                          uint64_t max_bytes);

// True when `name` is a plain file name: not empty, no separator or NUL, not "." or "..".
bool IsPlainFileName(std::string_view name);

}  // namespace latentd
