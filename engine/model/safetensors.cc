#include "engine/model/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "engine/model/message.h"
#include "engine/model/safetensors_header.h"
#include "engine/model/strict_json.h"

namespace latentd {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

constexpr std::array<StoredType, 20> kStoredTypes{{
    {"F32", 32, DType::kF32},     {"F16", 16, DType::kF16},     {"BF16", 16, DType::kBF16},
    {"BOOL", 8, std::nullopt},    {"F4", 4, std::nullopt},      {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt}, {"U8", 8, std::nullopt},      {"I8", 8, std::nullopt},
    {"F8_E5M2", 8, std::nullopt}, {"F8_E4M3", 8, std::nullopt}, {"F8_E8M0", 8, std::nullopt},
    {"I16", 16, std::nullopt},    {"U16", 16, std::nullopt},    {"I32", 32, std::nullopt},
    {"U32", 32, std::nullopt},    {"F64", 64, std::nullopt},    {"I64", 64, std::nullopt},
    {"U64", 64, std::nullopt},    {"C64", 64, std::nullopt},
}};

absl::Status Fault(const TensorEntry& tensor, std::string_view what) {
  return Invalid("tensor '", Printable(tensor.name), "' ", View(what));
}

// Bytes of shape × dtype, or nothing when they overflow or end inside a byte.
std::optional<uint64_t> ByteLength(const TensorEntry& tensor) {
  uint64_t bits = tensor.type->bits;
  for (const uint64_t dim : tensor.shape) {
    if (__builtin_mul_overflow(bits, dim, &bits)) return std::nullopt;
  }
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

absl::Status CheckEntry(const TensorEntry& tensor, uint64_t data_bytes) {
  if (tensor.begin > tensor.end) {
    return Fault(tensor, absl::StrCat("has data_offsets [", tensor.begin, ", ", tensor.end,
                                      "] that run backwards"));
  }
  if (tensor.end > data_bytes) {
    return Fault(tensor,
                 absl::StrCat("ends at byte ", tensor.end, " of the data, but the file has only ",
                              data_bytes, " (truncated?)"));
  }
  const std::optional<uint64_t> bytes = ByteLength(tensor);
  if (!bytes.has_value()) return Fault(tensor, "has a shape beyond what a file can hold");
  if (*bytes != tensor.end - tensor.begin) {
    return Fault(tensor,
                 absl::StrCat("has ", tensor.end - tensor.begin,
                              " bytes in data_offsets, but its shape and dtype make ", *bytes));
  }
  return absl::OkStatus();
}

// REQUIRES: entries sorted by (begin, end), each inside the data.
absl::Status CheckLayout(const std::vector<TensorEntry>& tensors, uint64_t data_bytes) {
  uint64_t end = 0;
  const TensorEntry* previous = nullptr;
  for (const TensorEntry& tensor : tensors) {
    if (tensor.begin < end) {
      return Fault(tensor, absl::StrCat("overlaps tensor '", Printable(previous->name), "'"));
    }
    if (tensor.begin > end) {
      return Fault(tensor,
                   absl::StrCat("begins at byte ", tensor.begin, " of the data, but bytes from ",
                                end, " on belong to no tensor"));
    }
    end = tensor.end;
    previous = &tensor;
  }
  if (end != data_bytes) {
    return Invalid("the last ", data_bytes - end, " bytes of the file belong to no tensor");
  }
  return absl::OkStatus();
}

absl::Status CheckNames(const std::vector<TensorEntry>& tensors) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const TensorEntry& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin == names.end()) return absl::OkStatus();
  return Invalid("tensor '", Printable(*twin), "' is given twice in the header");
}

}  // namespace

const StoredType* FindStoredType(std::string_view name) {
  const auto type = std::find_if(kStoredTypes.begin(), kStoredTypes.end(),
                                 [name](const StoredType& row) { return row.name == name; });
  return type == kStoredTypes.end() ? nullptr : &*type;
}

absl::StatusOr<std::vector<TensorEntry>> ParseSafetensorsHeader(std::string_view header,
                                                                uint64_t data_bytes) {
  absl::StatusOr<std::vector<TensorEntry>> tensors = ReadHeaderEntries(header);
  if (!tensors.ok()) return tensors;
  for (const TensorEntry& tensor : *tensors) {
    if (absl::Status status = CheckEntry(tensor, data_bytes); !status.ok()) return status;
  }
  if (absl::Status status = CheckNames(*tensors); !status.ok()) return status;
  std::sort(tensors->begin(), tensors->end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  if (absl::Status status = CheckLayout(*tensors, data_bytes); !status.ok()) return status;
  return tensors;
}

absl::StatusOr<SafetensorsFile> OpenSafetensors(const std::string& dir, const std::string& name) {
  const auto fault = [&name](const auto&... parts) {
    return Invalid(Printable(name), ": ", parts...);
  };
  absl::StatusOr<std::shared_ptr<const MappedFile>> file = MappedFile::Open(dir, name);
  if (!file.ok()) return file.status();
  const uint64_t size = (*file)->size();
  if (size < 8) return fault("is ", size, " bytes long, too short for a safetensors file");

  uint64_t header_bytes = 0;
  for (int i = 0; i < 8; ++i) {
    header_bytes |= std::to_integer<uint64_t>((*file)->data()[i]) << (8 * i);
  }
  if (header_bytes > kMaxHeaderBytes) {
    return fault("declares a header of ", header_bytes, " bytes, at most ", kMaxHeaderBytes,
                 " are accepted");
  }
  if (header_bytes > size - 8) {
    return fault("declares a header of ", header_bytes, " bytes, but the file has only ", size - 8,
                 " after its length (truncated?)");
  }
  const char* text = reinterpret_cast<const char*>((*file)->data()) + 8;
  absl::StatusOr<std::vector<TensorEntry>> tensors =
      ParseSafetensorsHeader({text, header_bytes}, size - 8 - header_bytes);
  if (!tensors.ok()) return fault(tensors.status().message());
  return SafetensorsFile{*file, (*file)->data() + 8 + header_bytes, *std::move(tensors)};
}

}  // namespace latentd
