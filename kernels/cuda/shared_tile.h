// How a tile lies in shared memory, and the descriptors by which wgmma finds it.
//
// A chunk is 64 rows (tokens, or query rows) of 64 bf16 lanes: 128 bytes a row, 8 KiB, its start
// aligned to 1024 bytes. TMA writes it with the 128-byte swizzle: within each 8 rows, the 16-byte
// piece j of row i stands at place j ^ (i % 8), so that eight rows of one column, which a matrix
// instruction reads together, come from different banks. A tile is its chunks one behind the other.
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.h"

namespace latentd::cuda {

constexpr int kTileRows = 64;    // tokens of a block and of an attention tile; query rows of a tile
constexpr int kChunkLanes = 64;  // bf16 lanes
constexpr int kChunkRowBytes = 2 * kChunkLanes;
constexpr int kChunkBytes = kTileRows * kChunkRowBytes;
constexpr int kStepLanes = 16;  // depth of one bf16 wgmma
constexpr int kStepsPerChunk = kChunkLanes / kStepLanes;

// Where a byte that belongs at `offset` of a chunk stands: bits 4–6 are changed by bits 7–9.
LATENTD_HD constexpr uint32_t Swizzle128(uint32_t offset) {
  return offset ^ ((offset >> 3) & 0x70);
}

// Byte of (row, lane) from the start of its chunk.
LATENTD_HD constexpr uint32_t ChunkByte(int row, int lane) {
  return Swizzle128(static_cast<uint32_t>(row * kChunkRowBytes + 2 * lane));
}

// wgmma's 64-bit shared-memory descriptor, addresses and offsets in units of 16 bytes:
//   bits 0–13 start address | 16–29 leading offset | 32–45 stride offset | 49–51 base offset |
//   62–63 swizzle (1: 128 bytes).
// The base offset is 0 because every 8-row pattern begins on a multiple of 1024 bytes.
LATENTD_HD constexpr uint64_t SharedDescriptor(uint32_t address, uint32_t leading_bytes,
                                               uint32_t stride_bytes) {
  return static_cast<uint64_t>((address & 0x3ffff) >> 4) |
         static_cast<uint64_t>(leading_bytes >> 4) << 16 |
         static_cast<uint64_t>(stride_bytes >> 4) << 32 | uint64_t{1} << 62;
}

constexpr uint32_t kPatternBytes = 8 * kChunkRowBytes;  // the swizzle repeats every 8 rows

// The same operand `bytes` further on: addresses stay below 2¹⁸, so nothing carries into the
// offsets.
LATENTD_HD constexpr uint64_t Advance(uint64_t descriptor, int bytes) {
  return descriptor + static_cast<uint64_t>(bytes >> 4);
}

// Operand whose depth runs along the lanes (Q, C in Q·Cᵀ; P in P·C): 64 rows, 16 lanes; the next 16
// lanes are kStepBytesAlongLanes on. The stride goes from 8 rows to the next 8; the leading offset
// is unread.
LATENTD_HD constexpr uint64_t DescriptorAlongLanes(uint32_t chunk) {
  return SharedDescriptor(chunk, 16, kPatternBytes);
}
constexpr int kStepBytesAlongLanes = 2 * kStepLanes;

// Operand whose depth runs along the rows (C in P·C): 16 tokens and the lanes of consecutive
// chunks, 64 each; the next 16 tokens are kStepBytesAlongRows on. The leading offset goes from
// chunk to chunk, the stride from 8 tokens to the next 8.
LATENTD_HD constexpr uint64_t DescriptorAlongRows(uint32_t first_chunk) {
  return SharedDescriptor(first_chunk, kChunkBytes, kPatternBytes);
}
constexpr int kStepBytesAlongRows = kStepLanes * kChunkRowBytes;

// What thread `thread` (0…127) of a warpgroup holds in register i of a 64 × N fp32 accumulator.
LATENTD_HD constexpr int FragmentRow(int thread, int i) {
  return 16 * (thread / 32) + thread % 32 / 4 + 8 * (i / 2 % 2);
}
LATENTD_HD constexpr int FragmentColumn(int thread, int i) {
  return 8 * (i / 4) + 2 * (thread % 4) + i % 2;
}

}  // namespace latentd::cuda
