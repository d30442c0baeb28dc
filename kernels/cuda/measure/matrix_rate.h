// How the loop over the matrix units lies in shared memory: for the kernel and its test.
#pragma once

#include "kernels/cuda/shared_tile.h"

namespace latentd::cuda {

constexpr int kMatrixGroups = 2;  // warpgroups, each with rows of its own
constexpr int kMatrixColumns = 256;
constexpr int kMatrixThreads = 128 * kMatrixGroups;
// Chunks in shared memory: the rows of each warpgroup, then the columns, 64 to a chunk.
constexpr int kMatrixColumnsChunk = kMatrixGroups;
constexpr int kMatrixChunks = kMatrixGroups + kMatrixColumns / kTileRows;
constexpr int kMatrixWords = kMatrixChunks * kChunkBytes / 4;

}  // namespace latentd::cuda
