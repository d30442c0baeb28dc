// Expanded attention on a device: kernels/expanded_attention.h from a matrix library's products and
// the kernels of kernels/cuda/expanded_parts.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

#include "engine/cuda/activations.h"
#include "engine/cuda/device_weights.h"
#include "kernels/cuda/blaslt.h"
#include "kernels/cuda/expanded_parts.h"

namespace latentd {

// The chunk of one sequence in one layer. Pointers are device memory.
struct ExpandedCall {
  WeightView kv_b;                        // [G(d_n + d_v), w], per group K rows then V rows
  MatrixView<const float> q;              // [T, H(d_n + d_r)], as ExpandedAttentionArgs has it
  MatrixView<float> out;                  // [T, H·d_v], overwritten
  const std::byte* pool = nullptr;        // granules of 256 bytes
  LayerOffsets layer;                     // bf16 latents
  int64_t row_latent = 0;                 // r_w at this width
  const uint32_t* block_table = nullptr;  // of the sequence
  int64_t first_position = 0;
};

// q, keys, values and probabilities are rounded to bf16, sums are fp32, in the library's order.
// Spans from position 0 merge from the left by their largest scores. Slots past the chunk's end are
// never read.
//
// Enqueues and waits for nothing. Engine thread only. Borrows all that it is given.
class ExpandedRoute {
 public:
  // library: null is strict, where no chunk takes the route; nor does one where a layer's kv_b_proj
  // is not for the library (docs/cuda.md).
  ExpandedRoute(const ModelConfig& config, const DeviceWeights& weights, CUstream_st* stream,
                cuda::BlasLt* library, const Activations& a);

  // Whether the chunk is to be attended to here, at a latent rank of `width`. Lengths decide
  // (IsCheaperExpanded), and that the library has an algorithm for every product that any chunk of
  // this width may need: it is asked at the first one.
  bool Takes(const AttentionSequence& chunk, int64_t width);

  // REQUIRES: Takes said so.
  void Attend(const ExpandedCall& call);

 private:
  // Some KV groups of a span of the context.
  struct Part {
    cuda::PagedSpan span;
    int64_t first_group = 0;
    int64_t padded_keys = 0;
  };
  bool KnowsProducts(int64_t width) const;
  void PackQueries(const ExpandedCall& call);
  void Expand(const ExpandedCall& call, const Part& part);
  // The queries from first_row on, as many as are taken at once.
  void AttendPiece(const ExpandedCall& call, const Part& part, int64_t first_row);
  void Multiply(const cuda::LibraryShape& shape, const bf16* x, const bf16* w, float* y);

  const ModelConfig& config_;
  const WeightView kv_b_;  // a layer's; they are alike
  CUstream_st* const stream_;
  cuda::BlasLt* const library_;  // null where no chunk can take the route
  const Activations& a_;
  std::map<int64_t, bool> is_known_;  // of each width met
};

}  // namespace latentd
