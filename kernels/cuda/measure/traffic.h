// What memory and matrix units can do at best, for benchmarks that measure it beside what they
// time.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// All: pointers are device memory, aligned to 16 bytes, borrowed until the stream has run the
// kernel; counts of bytes are multiples of 16. Each enqueues one kernel. Any thread, one at a time
// per stream. A broken precondition or a failed launch aborts with file and line.

// Random bf16 values of ±[0.5, 1), different for each seed; as fp32 they are finite too.
void FillRandom(CUstream_st* stream, std::byte* to, int64_t bytes, uint32_t seed);

void CopyBytes(CUstream_st* stream, const std::byte* from, std::byte* to, int64_t bytes);

// Reads without keeping: a few bytes are written to `folded`, of ReadScratchBytes().
void ReadBytes(CUstream_st* stream, const std::byte* from, int64_t bytes, std::byte* folded,
               int num_processors);
int64_t ReadScratchBytes(int num_processors);

// bf16 products of random operands in shared memory onto fp32 registers, nothing else: one block of
// two warpgroups on each processor, `steps` times 64 × 256 × 64 in each. `sums` is scratch of
// MatrixScratchBytes(). Returns the floating-point operations enqueued.
double MultiplyMatrices(CUstream_st* stream, int steps, int num_processors, std::byte* sums);
int64_t MatrixScratchBytes(int num_processors);

}  // namespace latentd::cuda
