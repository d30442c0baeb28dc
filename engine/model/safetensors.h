// The safetensors format: an 8-byte little-endian header length, a JSON header, then the tensors'
// bytes.
//
//   [u64 n][n bytes of JSON: {"name": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [0, 64]},
//   …}][data]
//
// data_offsets count from the first byte after the header. Nothing in a file is trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/mapped_file.h"
#include "kernels/core/dtype.h"

namespace latentd {

// A dtype that the format knows. `weight` is set for those that the kernels read.
struct StoredType {
  std::string_view name;
  uint32_t bits;
  std::optional<DType> weight;
};

// Null for a name that the format does not know.
const StoredType* FindStoredType(std::string_view name);

// One entry of a header that passed every check.
struct TensorEntry {
  std::string name;
  const StoredType* type = nullptr;  // static
  std::vector<uint64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the data
  uint64_t end = 0;

  uint64_t num_elements() const { return (end - begin) * 8 / type->bits; }
};

// Entries in the order of their data. Refused: unknown dtypes and keys, missing keys, a length that
// differs from shape × dtype, ranges that leave [0, data_bytes), overlap or leave gaps. Memory is
// bounded by a small multiple of the header's length. Messages begin with no file name.
absl::StatusOr<std::vector<TensorEntry>> ParseSafetensorsHeader(std::string_view header,
                                                                uint64_t data_bytes);

struct SafetensorsFile {
  std::shared_ptr<const MappedFile> file;
  const std::byte* data = nullptr;  // first byte after the header
  std::vector<TensorEntry> tensors;
};

// Maps dir/name and checks its header; touches no page of tensor data. Errors begin with `name`.
absl::StatusOr<SafetensorsFile> OpenSafetensors(const std::string& dir, const std::string& name);

}  // namespace latentd
