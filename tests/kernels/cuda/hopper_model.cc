#include "tests/kernels/cuda/hopper_model.h"

#include <cstring>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"

namespace latentd::cuda {
namespace {

constexpr int kDepth = 16;

uint32_t Bits(uint64_t value, int first, int count) {
  return static_cast<uint32_t>(value >> first) & ((1u << count) - 1);
}

float ReadBf16(std::span<const std::byte> shared, uint32_t byte) {
  LATENTD_CHECK(byte + sizeof(bf16) <= shared.size());
  bf16 value;
  std::memcpy(&value, &shared[byte], sizeof value);
  return ToFloat(value);
}

}  // namespace

// Canonical layouts for 128-byte swizzle in elements of 2 bytes (8 to 16 bytes), before the
// swizzle:
//   K-major   ((8, i), (8, 2)) : ((64, SBO), (1, 8))
//   MN-major  ((64, i), (8, 2)) : ((1, LBO), (64, SBO))
// The swizzle exchanges address bits 4–6 by exclusive or with bits 7–9.
uint32_t OperandByte(uint64_t descriptor, Major major, int i, int k) {
  LATENTD_CHECK(Bits(descriptor, 62, 2) == 1);  // 128-byte swizzle
  LATENTD_CHECK(Bits(descriptor, 49, 3) == 0);  // patterns begin on multiples of 1024 bytes
  const uint32_t start = Bits(descriptor, 0, 14) * 16;
  const uint32_t leading = Bits(descriptor, 16, 14) * 16;
  const uint32_t stride = Bits(descriptor, 32, 14) * 16;
  const auto ui = static_cast<uint32_t>(i);
  const auto uk = static_cast<uint32_t>(k);
  const uint32_t offset = major == Major::kDepth
                              ? ui % 8 * 128 + ui / 8 * stride + uk * 2
                              : ui % 64 * 2 + ui / 64 * leading + uk % 8 * 128 + uk / 8 * stride;
  const uint32_t address = start + offset;
  return address ^ (Bits(address, 7, 3) << 4);
}

void ModelWgmma(std::span<const std::byte> shared, uint64_t a, uint64_t b, Major b_major,
                int num_columns, std::span<float> sums, Major a_major) {
  LATENTD_CHECK(sums.size() == static_cast<size_t>(64 * num_columns));
  std::vector<float> b_rows(static_cast<size_t>(kDepth * num_columns));
  for (int k = 0; k < kDepth; ++k) {
    for (int n = 0; n < num_columns; ++n) {
      b_rows[static_cast<size_t>(k * num_columns + n)] =
          ReadBf16(shared, OperandByte(b, b_major, n, k));
    }
  }
  std::vector<float> row(static_cast<size_t>(num_columns));
  for (int m = 0; m < 64; ++m) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (int k = 0; k < kDepth; ++k) {
      const float value = ReadBf16(shared, OperandByte(a, a_major, m, k));
      const float* b_row = &b_rows[static_cast<size_t>(k * num_columns)];
      for (int n = 0; n < num_columns; ++n) row[static_cast<size_t>(n)] += value * b_row[n];
    }
    // Accumulator fragment: warp w has rows 16w…16w+15; lane l has rows l/4 and l/4 + 8 of them and
    // columns 2(l%4), +1 of every 8. Registers: two columns of the upper row, two of the lower row,
    // then the next 8 columns.
    for (int n = 0; n < num_columns; ++n) {
      const int lane = m % 8 * 4 + n % 8 / 2;
      const int thread = m / 16 * 32 + lane;
      const int i = n / 8 * 4 + m % 16 / 8 * 2 + n % 2;
      sums[static_cast<size_t>(thread * (num_columns / 2) + i)] += row[static_cast<size_t>(n)];
    }
  }
}

void ModelTmaLoad(std::span<const std::byte> global, const TensorBox& tensor,
                  std::array<int64_t, 3> at, std::span<std::byte> shared, uint32_t target) {
  LATENTD_CHECK(tensor.box[0] * sizeof(bf16) == 128 && target % 1024 == 0);
  LATENTD_CHECK(tensor.stride_bytes[0] % 16 == 0 && tensor.stride_bytes[1] % 16 == 0);
  const auto inside = [&](int dimension, int64_t index) {
    return index >= 0 && index < static_cast<int64_t>(tensor.size[static_cast<size_t>(dimension)]);
  };
  uint32_t row = 0;
  for (int64_t z = at[2]; z < at[2] + tensor.box[2]; ++z) {
    for (int64_t y = at[1]; y < at[1] + tensor.box[1]; ++y, ++row) {
      for (int64_t x = at[0]; x < at[0] + tensor.box[0]; ++x) {
        const auto lane = static_cast<uint32_t>(x - at[0]);
        const uint32_t piece = lane / 8 ^ row % 8;  // 16 bytes
        const uint32_t to = target + row * 128 + piece * 16 + lane % 8 * 2;
        LATENTD_CHECK(to + sizeof(bf16) <= shared.size());
        std::memset(&shared[to], 0, sizeof(bf16));
        if (!inside(0, x) || !inside(1, y) || !inside(2, z)) continue;
        const uint64_t from = static_cast<uint64_t>(x) * sizeof(bf16) +
                              static_cast<uint64_t>(y) * tensor.stride_bytes[0] +
                              static_cast<uint64_t>(z) * tensor.stride_bytes[1];
        LATENTD_CHECK(from + sizeof(bf16) <= global.size());
        std::memcpy(&shared[to], &global[from], sizeof(bf16));
      }
    }
  }
}

void ModelTmaMulticast(std::span<const std::byte> global, const TensorBox& tensor,
                       std::array<int64_t, 3> at, std::span<const std::span<std::byte>> blocks,
                       uint32_t mask, uint32_t target) {
  LATENTD_CHECK(mask != 0 && mask >> blocks.size() == 0);
  for (size_t i = 0; i < blocks.size(); ++i) {
    if ((mask >> i & 1) != 0) ModelTmaLoad(global, tensor, at, blocks[i], target);
  }
}

}  // namespace latentd::cuda
