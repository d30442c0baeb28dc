// The row operators and projections of a step on the device. Shapes, dtypes and results are those
// of the header named with each; the differences are said here.
//
// All: data pointers, those in views and argument structs too, are device memory, borrowed until
// the stream has run the operator; counts and shapes are read at the call. Each enqueues one kernel
// and returns. Any thread, one at a time per stream. A broken precondition or a failed launch
// aborts with file and line. Sums have a fixed order that depends on their own length alone.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/core/tensor.h"
#include "kernels/linear.h"
#include "kernels/moe_router.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// kernels/norm.h. The squares add up in an order of their own (block_sum.h).
void RmsNorm(CUstream_st* stream, MatrixView<const float> x, const float* weight, float epsilon,
             MatrixView<float> y);

// kernels/rope.h; the bits are the CPU's. Angles come from RopeAngles on the host.
void Rope(CUstream_st* stream, MatrixView<float> x, MatrixView<const float> angles,
          int64_t rows_per_angle, bool interleaved);

// kernels/elementwise.h; the bits are the CPU's, but for SiluMul's exponential. An id that is not
// below table.rows traps, which fails the stream.
void Embedding(CUstream_st* stream, std::span<const uint32_t> ids, const WeightView& table,
               MatrixView<float> out);
void SiluMul(CUstream_st* stream, MatrixView<float> gate, MatrixView<const float> up);
void AddInPlace(CUstream_st* stream, MatrixView<float> x, MatrixView<const float> y,
                float scale = 1);
void ScaleInPlace(CUstream_st* stream, MatrixView<float> x, float scale);

// kernels/linear.h. bf16 weights whose rows (and, in a batch, matrices) lie a multiple of 8
// elements apart meet the matrix units, in the order of matrix_linear.h; they begin on 16 bytes.
// All others: fused multiply-adds into one accumulator in ascending k, which with bf16 weights
// gives the bits of the CPU's scalar path. Which of the two it is depends on the weights alone.
// Weights of fp8 and int4 are dequantised in the kernel, to the CPU's bits; with weights in blocks,
// which begin on 4 bytes, results are the CPU's bits.
void Linear(CUstream_st* stream, const LinearArgs& args);
void LinearTransposed(CUstream_st* stream, const LinearTransposedArgs& args);

// kernels/moe_router.h, for at most kMaxExperts experts. Sums have the CPU's order; exponentials
// are the device's.
constexpr int64_t kMaxExperts = 1024;
void RouteExperts(CUstream_st* stream, const RouterConfig& config, MatrixView<const float> logits,
                  const float* bias, MatrixView<int32_t> experts, MatrixView<float> weights);

}  // namespace latentd::cuda
