// What the PTX manual says that TMA and wgmma do, in plain C++: written from the manual's
// definitions, using none of the index functions of kernels/cuda, so that the two check each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cuda/decode_layout.h"

namespace latentd::cuda {

// "K-major" operands have their depth along the 128-byte rows, "MN-major" ones across them.
enum class Major { kDepth, kOther };

// Shared-memory byte of element (i, k) of a bf16 operand with the 128-byte swizzle; i is the row of
// A or the column of B, k the depth, 0…15.
uint32_t OperandByte(uint64_t descriptor, Major major, int i, int k);

// wgmma.mma_async m64nNk16, bf16: sums[thread][N / 2] += A·B.
void ModelWgmma(std::span<const std::byte> shared, uint64_t a, uint64_t b, Major b_major,
                int num_columns, std::span<float> sums, Major a_major = Major::kDepth);

// cp.async.bulk.tensor of one box at `at` (innermost first), SWIZZLE_128B, zeros outside the
// tensor. Aborts where the box would read outside `global`, or write outside `shared` or unaligned.
void ModelTmaLoad(std::span<const std::byte> global, const TensorBox& tensor,
                  std::array<int64_t, 3> at, std::span<std::byte> shared, uint32_t target);

// The same with .multicast::cluster: into each block of the cluster whose bit is set in `mask`, at
// the same offset of its shared memory. Aborts where the mask names a block that is not there.
void ModelTmaMulticast(std::span<const std::byte> global, const TensorBox& tensor,
                       std::array<int64_t, 3> at, std::span<const std::span<std::byte>> blocks,
                       uint32_t mask, uint32_t target);

}  // namespace latentd::cuda
