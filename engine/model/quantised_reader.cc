// The tensors that stand for one quantised matrix.
#include <algorithm>
#include <cstring>

#include "engine/model/message.h"
#include "engine/model/weight_reader.h"
#include "kernels/core/rounding.h"
#include "kernels/dequantise.h"

namespace latentd {
namespace {

constexpr int64_t kPackedPerWord = 8;  // int4 in an int32

uint64_t Blocks(int64_t lanes, int64_t block) {
  return static_cast<uint64_t>(CeilDiv(lanes, block));
}

}  // namespace

bool WeightReader::IsStoredQuantised(const std::string& name) const {
  if (!options_.quantisation.has_value()) return false;
  const StoredTensor* tensor = checkpoint_->Find(name);
  if (options_.quantisation->dtype == DType::kE4M3) {
    return tensor != nullptr && tensor->entry->type->name == "F8_E4M3";
  }
  return tensor == nullptr && (Has(name + "_packed") || Has(name + "_scale"));
}

// name: [lead…, rows, cols] of e4m3; name_scale_inv: one scale for each block, the last ones cut.
std::vector<WeightView> WeightReader::BlockScaled(const std::string& name,
                                                  const std::vector<uint64_t>& lead, int64_t rows,
                                                  int64_t cols) {
  const WeightQuantisation& format = *options_.quantisation;
  const uint64_t scale_rows = Blocks(rows, format.block_rows);
  const uint64_t scale_cols = Blocks(cols, format.block_cols);
  const auto shape = [&lead](uint64_t matrix_rows, uint64_t matrix_cols) {
    std::vector<uint64_t> whole = lead;
    whole.insert(whole.end(), {matrix_rows, matrix_cols});
    return whole;
  };
  const StoredTensor* weight =
      Claim(name, shape(static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)), {"F8_E4M3"});
  const StoredTensor* scale =
      Claim(name + "_scale_inv", shape(scale_rows, scale_cols), {"F32", "F16", "BF16"});
  if (weight == nullptr || scale == nullptr) return {};
  num_parameters_ += weight->entry->num_elements();
  const DType scale_dtype = *scale->entry->type->weight;
  const std::byte* const scales = Aligned(*scale);
  std::vector<WeightView> views;
  for (uint64_t i = 0; i < (lead.empty() ? 1 : lead[0]); ++i) {
    WeightView view{weight->data + i * static_cast<uint64_t>(rows * cols), format.dtype, rows, cols,
                    cols};
    view.scales = {.data = scales + i * scale_rows * scale_cols * SizeOf(scale_dtype),
                   .dtype = scale_dtype,
                   .ld = static_cast<int64_t>(scale_cols),
                   .block_rows = format.block_rows,
                   .block_cols = format.block_cols};
    views.push_back(view);
  }
  return views;
}

// name_packed: [rows, cols / 8] words of eight int4; name_scale: one for each group along a row;
// name_shape: [rows, cols] as values.
WeightView WeightReader::Packed(const std::string& name, int64_t rows, int64_t cols) {
  const WeightQuantisation& format = *options_.quantisation;
  const auto height = static_cast<uint64_t>(rows);
  const uint64_t groups = Blocks(cols, format.block_cols);
  const uint64_t words = Blocks(cols, kPackedPerWord);
  const StoredTensor* packed = Claim(name + "_packed", {height, words}, {"I32"});
  const StoredTensor* scale = Claim(name + "_scale", {height, groups}, {"F32", "F16", "BF16"});
  const StoredTensor* shape = Claim(name + "_shape", {2}, {"I64"});
  if (packed == nullptr || scale == nullptr || shape == nullptr) return {};
  if (cols % format.block_cols != 0) {
    Fault(*packed, absl::StrCat("has rows of ", cols, " elements, which groups of ",
                                format.block_cols, " do not divide"));
    return {};
  }
  int64_t stated[2];
  std::memcpy(stated, shape->data, sizeof stated);
  if (stated[0] != rows || stated[1] != cols) {
    Fault(*shape, absl::StrCat("says [", stated[0], ", ", stated[1],
                               "], but config.json makes the matrix [", rows, ", ", cols, "]"));
    return {};
  }
  num_parameters_ += height * static_cast<uint64_t>(cols);
  WeightView view{packed->data, format.dtype, rows, cols,
                  static_cast<int64_t>(words) * kPackedPerWord};
  view.scales = {.data = Aligned(*scale),
                 .dtype = *scale->entry->type->weight,
                 .ld = static_cast<int64_t>(groups),
                 .block_rows = 1,
                 .block_cols = format.block_cols};
  return view;
}

WeightView WeightReader::DenseMatrix(const std::string& name, int64_t rows, int64_t cols) {
  const WeightView view = Matrix(name, rows, cols);
  if (!view || !IsQuantised(view.dtype) || options_.describe_only) return view;
  const auto count = static_cast<size_t>(rows * cols);
  auto values = std::make_unique_for_overwrite<float[]>(count);
  for (int64_t i = 0; i < rows; ++i) DequantiseRow(view, i, values.get() + i * cols);
  const bool fits_bf16 = std::all_of(values.get(), values.get() + count,
                                     [](float value) { return RoundToBf16(value) == value; });
  const DType dtype = fits_bf16 ? DType::kBF16 : DType::kF32;
  storage_->copies.push_back(std::make_unique_for_overwrite<std::byte[]>(count * SizeOf(dtype)));
  std::byte* const copy = storage_->copies.back().get();
  if (fits_bf16) {
    auto* halves = reinterpret_cast<bf16*>(copy);
    std::transform(values.get(), values.get() + count, halves, ToBf16);
  } else {
    std::memcpy(copy, values.get(), count * sizeof(float));
  }
  return {copy, dtype, rows, cols, cols};
}

}  // namespace latentd
