#include "engine/model/weight_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_join.h"
#include "engine/model/message.h"

namespace latentd {
namespace {

constexpr size_t kMaxNamed = 3;

std::string ShapeText(const std::vector<uint64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// "a, b, c and 4 more".
std::string NameSome(const std::vector<std::string>& names, int64_t count) {
  const int64_t rest = count - static_cast<int64_t>(names.size());
  return absl::StrCat(absl::StrJoin(names, ", "),
                      rest > 0 ? absl::StrCat(" and ", rest, " more") : "");
}

template <typename T>
T LoadUnaligned(const std::byte* data, size_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

float LoadFloat(const std::byte* data, DType dtype, size_t index) {
  switch (dtype) {
    case DType::kF32:
      return LoadUnaligned<float>(data, index);
    case DType::kF16:
      return ToFloat(LoadUnaligned<f16>(data, index));
    case DType::kBF16:
      return ToFloat(LoadUnaligned<bf16>(data, index));
    case DType::kE4M3:
    case DType::kInt4:
    case DType::kInt8:
    case DType::kInt4Blocks:
      break;  // Take() gives none of these
  }
  return 0;
}

}  // namespace

WeightReader::WeightReader(std::shared_ptr<const Checkpoint> checkpoint,
                           const ReaderOptions& options, Progress progress)
    : checkpoint_(std::move(checkpoint)),
      options_(options),
      storage_(std::make_shared<Storage>()),
      progress_(std::move(progress)) {
  storage_->checkpoint = checkpoint_;
  for (const auto& [name, tensor] : checkpoint_->tensors()) {
    total_bytes_ += tensor.entry->end - tensor.entry->begin;
  }
}

void WeightReader::Fault(const StoredTensor& tensor, const std::string& what) {
  if (num_faults_++ == 0) {
    fault_ = absl::StrCat(Printable(*tensor.file), ": tensor '", Printable(tensor.entry->name),
                          "' ", what);
  }
}

const StoredTensor* WeightReader::Claim(const std::string& name, const std::vector<uint64_t>& shape,
                                        std::initializer_list<const char*> dtypes) {
  const StoredTensor* tensor = checkpoint_->Request(name, shape);
  if (tensor == nullptr) {
    if (missing_.size() < kMaxNamed) missing_.push_back(Printable(name));
    ++num_missing_;
    return nullptr;
  }
  taken_.insert(tensor->entry->name);
  if (tensor->entry->shape != shape) {
    Fault(*tensor, absl::StrCat("has the shape ", ShapeText(tensor->entry->shape),
                                ", but config.json makes it ", ShapeText(shape)));
    return nullptr;
  }
  if (std::find(dtypes.begin(), dtypes.end(), tensor->entry->type->name) == dtypes.end()) {
    Fault(*tensor, absl::StrCat("has the dtype ", View(tensor->entry->type->name),
                                ", which is not served here (", absl::StrJoin(dtypes, ", "), ")"));
    return nullptr;
  }
  const uint64_t bytes = tensor->entry->end - tensor->entry->begin;
  num_bytes_ += bytes;
  bytes_by_dtype_[std::string(tensor->entry->type->name)] += bytes;
  if (progress_) progress_(num_bytes_, total_bytes_);
  return tensor;
}

const StoredTensor* WeightReader::Take(const std::string& name,
                                       const std::vector<uint64_t>& shape) {
  const StoredTensor* tensor = Claim(name, shape, {"F32", "F16", "BF16"});
  if (tensor != nullptr) num_parameters_ += tensor->entry->num_elements();
  return tensor;
}

const std::byte* WeightReader::Aligned(const StoredTensor& tensor) {
  const size_t alignment = SizeOf(*tensor.entry->type->weight);
  const bool is_aligned = reinterpret_cast<uintptr_t>(tensor.data) % alignment == 0;
  if (is_aligned || options_.describe_only) return tensor.data;
  const size_t bytes = tensor.entry->end - tensor.entry->begin;
  storage_->copies.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
  std::memcpy(storage_->copies.back().get(), tensor.data, bytes);
  return storage_->copies.back().get();
}

WeightView WeightReader::Matrix(const std::string& name, int64_t rows, int64_t cols) {
  if (!IsStoredQuantised(name)) return PlainMatrix(name, rows, cols);
  if (options_.quantisation->dtype == DType::kInt4) return Packed(name, rows, cols);
  const std::vector<WeightView> one = BlockScaled(name, {}, rows, cols);
  return one.empty() ? WeightView() : one[0];
}

WeightView WeightReader::PlainMatrix(const std::string& name, int64_t rows, int64_t cols) {
  const StoredTensor* tensor =
      Take(name, {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)});
  if (tensor == nullptr) return {};
  return {Aligned(*tensor), *tensor->entry->type->weight, rows, cols, cols};
}

std::vector<WeightView> WeightReader::Matrices(const std::string& name, int64_t count, int64_t rows,
                                               int64_t cols) {
  if (IsStoredQuantised(name) && options_.quantisation->dtype == DType::kE4M3) {
    return BlockScaled(name, {static_cast<uint64_t>(count)}, rows, cols);
  }
  const StoredTensor* tensor = Take(
      name,
      {static_cast<uint64_t>(count), static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)});
  if (tensor == nullptr) return {};
  const WeightView all{Aligned(*tensor), *tensor->entry->type->weight, count * rows, cols, cols};
  std::vector<WeightView> matrices;
  for (int64_t i = 0; i < count; ++i) matrices.push_back(all.Rows(i * rows, rows));
  return matrices;
}

std::vector<float> WeightReader::Copy(const std::string& name, const std::vector<uint64_t>& shape,
                                      double scale) {
  const StoredTensor* tensor = Take(name, shape);
  if (tensor == nullptr || (options_.describe_only && shape.size() > 1)) return {};
  std::vector<float> values(tensor->entry->num_elements());
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = LoadFloat(tensor->data, *tensor->entry->type->weight, i);
    if (!std::isfinite(value)) {
      Fault(*tensor, absl::StrCat("has a value that is not finite at position ", i));
      return {};
    }
    values[i] = static_cast<float>(static_cast<double>(value) * scale);
  }
  return values;
}

std::vector<float> WeightReader::Vector(const std::string& name, int64_t size, double scale) {
  return Copy(name, {static_cast<uint64_t>(size)}, scale);
}

std::vector<float> WeightReader::MatrixCopy(const std::string& name, int64_t rows, int64_t cols) {
  return Copy(name, {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)}, 1);
}

absl::Status WeightReader::Finish(const std::function<bool(std::string_view)>& is_ignored) {
  if (num_faults_ > 0) {
    return Invalid(fault_, num_faults_ > 1 ? absl::StrCat(" (and ", num_faults_ - 1,
                                                          " more tensors do not fit)")
                                           : "");
  }
  std::vector<std::string_view> names;
  for (const auto& [name, tensor] : checkpoint_->tensors()) {
    if (HasGivenUp() || taken_.count(name) != 0 || is_ignored(name)) continue;
    names.push_back(name);
  }
  const auto num_extra = static_cast<int64_t>(names.size());
  const size_t num_named = std::min(names.size(), kMaxNamed);
  std::partial_sort(names.begin(), names.begin() + num_named, names.end());
  std::vector<std::string> extra;
  for (size_t i = 0; i < num_named; ++i) extra.push_back(Printable(names[i]));
  const std::string unknown =
      num_extra == 0 ? ""
                     : absl::StrCat(num_extra, num_extra == 1 ? " tensor is" : " tensors are",
                                    " not part of the model that config.json describes (",
                                    NameSome(extra, num_extra), ")");
  if (num_missing_ > 0) {
    return Invalid(Printable(checkpoint_->label()), ": ", HasGivenUp() ? "at least " : "",
                   num_missing_,
                   num_missing_ == 1 ? " tensor is missing (" : " tensors are missing (",
                   NameSome(missing_, num_missing_), ")", num_extra == 0 ? "" : ", and ", unknown);
  }
  if (num_extra == 0) {
    if (progress_) progress_(total_bytes_, total_bytes_);
    return absl::OkStatus();
  }
  const std::string& file =
      num_extra == 1 ? *checkpoint_->tensors().at(names[0]).file : checkpoint_->label();
  return Invalid(Printable(file), ": ", unknown);
}

}  // namespace latentd
