// A product of bf16 matrices as a matrix library takes it: pure functions of the host.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"
#include "kernels/cuda/matrix_linear.h"

namespace latentd::cuda {

// y[b][t, n] = Σ_k x[b][t, k] · w[b][n, k], or w[b][k, n] when transposed. What a library chooses
// an algorithm by. Distances are in elements, alignments (of the first elements) in bytes.
struct LibraryShape {
  bool transposed = false;
  int64_t tokens = 0, n = 0, k = 0;
  int64_t x_ld = 0, w_ld = 0, y_ld = 0;
  int64_t batch = 1;
  int64_t x_stride = 0, w_stride = 0, y_stride = 0;  // between matrices of the batch
  uint32_t x_alignment = 1, w_alignment = 1, y_alignment = 1;

  bool is_empty() const { return tokens == 0 || n == 0 || batch == 0; }  // nothing to compute
  bool operator==(const LibraryShape&) const = default;
};

struct LibraryProduct {
  LibraryShape shape;
  const bf16* x = nullptr;
  const bf16* w = nullptr;
  float* y = nullptr;
};

// The largest power of two, up to 256, that divides the address.
inline uint32_t AlignmentOf(const void* place) {
  const auto address = reinterpret_cast<uintptr_t>(place) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}

// Elements between two rows of a rounded x: rows begin on 16 bytes.
constexpr int64_t RoundedLd(int64_t k) { return (k + 7) / 8 * 8; }

// Whether a library may have the product: the weights that the matrix units take, without a bias.
inline bool TakesLibrary(const MatrixProduct& product) {
  return TakesMatrixUnits(product) && product.args.bias == nullptr;
}

// Number i of the w_batch_share products that make up `product` once x is rounded: of the heads
// that share a matrix each is in one of them, so that a batch has one distance between its
// matrices. rounded: [batch][T][RoundedLd(K)]. REQUIRES: whole groups of heads.
inline LibraryProduct LibraryProductOf(const MatrixProduct& product, const bf16* rounded,
                                       int64_t i) {
  const LinearArgs& args = product.args;
  const int64_t share = args.w_batch_share, ld = RoundedLd(product.k);
  LATENTD_CHECK(args.batch % share == 0 && i >= 0 && i < share);
  LibraryProduct out;
  out.x = rounded + i * args.x.rows * ld;
  out.w = static_cast<const bf16*>(args.w.data);
  out.y = args.y.data + i * args.y_batch_stride;
  out.shape = {.transposed = product.transposed,
               .tokens = args.x.rows,
               .n = product.n,
               .k = product.k,
               .x_ld = ld,
               .w_ld = args.w.ld,
               .y_ld = args.y.ld,
               .batch = args.batch / share,
               .x_stride = share * args.x.rows * ld,
               .w_stride = args.w_batch_stride,
               .y_stride = share * args.y_batch_stride,
               .x_alignment = AlignmentOf(out.x),
               .w_alignment = AlignmentOf(out.w),
               .y_alignment = AlignmentOf(out.y)};
  return out;
}

}  // namespace latentd::cuda
