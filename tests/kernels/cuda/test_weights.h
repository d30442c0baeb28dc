// Random weight matrices of every dtype, on the host and where the operators under test run.
#pragma once

#include <cstring>
#include <vector>

#include "kernels/quantise.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {

inline const char* Name(DType dtype) {
  constexpr const char* kNames[] = {"fp32", "fp16", "bf16", "e4m3", "int4", "int8", "int4 blocks"};
  return kNames[static_cast<int>(dtype)];
}

// How a quantised matrix is cut, and where in the first of its blocks a view begins.
struct Cut {
  int64_t block_rows = 1;
  int64_t block_cols = 32;
  DType scale_dtype = DType::kBF16;
  int64_t first_row = 0;
};

// What lies between rows is NaN, where the dtype has one. Rows never lie a multiple of 8 elements
// apart, so that no product goes to the matrix units. Of a cut, weights in blocks read the
// first row alone, those that are not quantised nothing.
class TestWeights {
 public:
  TestWeights(std::mt19937& rng, DType dtype, int64_t rows, int64_t cols, const Cut& cut = {})
      : view_{nullptr, dtype, rows, cols, cols}, bytes_(Fill(rng, cut)), scales_(Scales(rng, cut)) {
    view_.data = bytes_.data();
    view_.scales.data = scales_.data();
  }
  TestWeights(const TestWeights&) = delete;

  const WeightView& OnHost() const { return view_; }
  WeightView OnDevice() const {
    WeightView view = view_;
    view.data = device_bytes_.data();
    view.scales.data = device_scales_.data();
    return view;
  }

 private:
  // The view's first row is `first_row` of a matrix of as many more.
  std::vector<std::byte> Fill(std::mt19937& rng, const Cut& cut) {
    if (IsBlocked(view_.dtype)) return FillBlocks(rng, cut.first_row);
    view_.ld = (view_.cols + 1) / 2 * 2 + 4;  // even for int4
    if (view_.ld % 8 == 0) view_.ld += 2;
    std::vector<std::byte> bytes(static_cast<size_t>(BytesOf(view_.dtype, view_.rows * view_.ld)),
                                 std::byte{0xff});
    for (int64_t row = 0; row < view_.rows; ++row) {
      const std::vector<float> values = RandomFloats(rng, view_.cols);
      for (int64_t k = 0; k < view_.cols; ++k) {
        Set(bytes, row * view_.ld + k, values[static_cast<size_t>(k)], rng());
      }
    }
    return bytes;
  }
  std::vector<std::byte> FillBlocks(std::mt19937& rng, int64_t first_row) {
    const BlockFormat& format = FormatOf(view_.dtype);
    const int64_t rows = first_row + view_.rows;
    const std::vector<float> values = RandomFloats(rng, rows * view_.cols, 3);
    // One byte more than needed: never none.
    std::vector<std::byte> bytes(static_cast<size_t>(format.Bytes(rows, view_.cols) + 1));
    const WeightView from = {values.data(), DType::kF32, rows, view_.cols, view_.cols};
    view_ = Quantise(nullptr, format, from, bytes.data()).Rows(first_row, view_.rows);
    return bytes;
  }
  void Set(std::vector<std::byte>& bytes, int64_t i, float value, uint32_t random) const {
    const auto store = [&](auto stored) {
      std::memcpy(bytes.data() + i * static_cast<int64_t>(sizeof stored), &stored, sizeof stored);
    };
    switch (view_.dtype) {
      case DType::kF32:
        return store(value);
      case DType::kF16:  // any half below 2
        return store(static_cast<uint16_t>((random & 0x83ff) | (8 + random / 65536 % 8) << 10));
      case DType::kBF16:
        return store(ToBf16(value));
      case DType::kE4M3:
        return store(static_cast<uint8_t>((random & 0x7f) == 0x7f ? 0x7e : random & 0xff));
      default: {
        std::byte& byte = bytes[static_cast<size_t>(i / 2)];
        const auto half = static_cast<std::byte>(random & 15);
        byte = i % 2 == 0 ? (byte & std::byte{0xf0}) | half : (byte & std::byte{0x0f}) | half << 4;
      }
    }
  }
  std::vector<uint32_t> Scales(std::mt19937& rng, const Cut& cut) {
    if (!IsQuantised(view_.dtype) || IsBlocked(view_.dtype)) return {};
    WeightScales& scales = view_.scales;
    scales = {.dtype = cut.scale_dtype,
              .ld = (view_.cols + cut.block_cols - 1) / cut.block_cols + 1,
              .block_rows = cut.block_rows,
              .block_cols = cut.block_cols,
              .first_row = cut.first_row};
    const int64_t rows = (cut.first_row + view_.rows + cut.block_rows - 1) / cut.block_rows;
    std::vector<uint32_t> words(static_cast<size_t>(rows * scales.ld));
    for (size_t i = 0; i < words.size(); ++i) {
      const float value = RandomFloats(rng, 1, 3)[0];
      const bf16 narrow = ToBf16(value);
      if (cut.scale_dtype == DType::kF32) {
        std::memcpy(&words[i], &value, sizeof value);
      } else {
        std::memcpy(reinterpret_cast<std::byte*>(words.data()) + i * sizeof narrow, &narrow,
                    sizeof narrow);
      }
    }
    return words;
  }

  WeightView view_;
  std::vector<std::byte> bytes_;
  std::vector<uint32_t> scales_;
  Array<std::byte> device_bytes_{bytes_};
  Array<uint32_t> device_scales_{scales_};
};

}  // namespace latentd::cuda
