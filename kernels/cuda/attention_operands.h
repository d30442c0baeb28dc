// What a step makes of rows between its products and its attention: the decode kernel's query rows,
// factors of rows, rows taken out.
//
// All: data pointers are device memory, borrowed until the stream has run the kernel; shapes are
// read at the call. Each enqueues one kernel and returns. Any thread, one at a time per stream. A
// broken precondition or a failed launch aborts with file and line.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"
#include "kernels/core/tensor.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace latentd::cuda {

// Row t·H + h of out, with g = h·G / H:
//   lanes 0 … w − 1               W_UK,gᵀ · q_C,h: sums and bits of LinearTransposed without matrix
//                                 units (operators.h), then rounded to bf16, as the CPU's attention
//                                 rounds its query
//   lanes row_latent …            q_R,h, rounded to bf16: d_r of them
//   all others below out_ld       zero
struct AbsorbQueryArgs {
  MatrixView<const float> q;      // [T, H(d_n + d_r)], content first; normalised and rotated
  WeightView w_uk;                // [d_n, w], group 0's; not quantised
  int64_t w_uk_group_stride = 0;  // elements between two groups
  int64_t num_heads = 0;          // H
  int64_t num_kv_groups = 0;      // G; divides H
  int64_t nope_dim = 0;           // d_n
  int64_t rope_dim = 0;           // d_r, may be 0
  int64_t row_latent = 0;         // r_w, at least w
  bf16* out = nullptr;            // [T·H][out_ld], overwritten: what MlaDecodeArgs calls q
  int64_t out_ld = 0;             // at least row_latent + d_r
};
void AbsorbQuery(CUstream_st* stream, const AbsorbQueryArgs& args);

// x[i] *= factors[i], factors being [x.rows] (Mistral 4's query, by its position).
void ScaleRows(CUstream_st* stream, MatrixView<float> x, const float* factors);

// out[i] = x[rows[i]], rows being [out.rows]. A row that x lacks traps, which fails the stream.
void GatherRows(CUstream_st* stream, MatrixView<const float> x, const int32_t* rows,
                MatrixView<float> out);

}  // namespace latentd::cuda
