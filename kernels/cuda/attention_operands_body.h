// AbsorbQuery: a block for each tile of 32 tokens × 64 lanes of a head. ScaleRows and GatherRows: a
// thread for each element.
#pragma once

#include "kernels/cuda/attention_operands.h"
#include "kernels/cuda/tile_product.h"

namespace latentd::cuda {

template <typename T>
struct AbsorbQueryBody {
  static constexpr int kThreads = kProductThreads;
  using Shared = ProductTile;
  using Thread = ProductSums;

  AbsorbQueryArgs args;

  LATENTD_HD int64_t TokenTiles() const { return CeilDiv(args.q.rows, kProductRows); }
  LATENTD_HD int64_t LaneTiles() const { return CeilDiv(args.out_ld, kProductCols); }
  int64_t NumBlocks() const { return args.num_heads * LaneTiles() * TokenTiles(); }
  LATENTD_HD int NumPhases() const { return ProductPhases(args.nope_dim) + 1; }
  LATENTD_HD void Run(int phase, int64_t block, int thread, Thread& own, Shared& shared) const {
    const int64_t first_token = block % TokenTiles() * kProductRows;
    const int64_t first_lane = block / TokenTiles() % LaneTiles() * kProductCols;
    const int64_t head = block / (TokenTiles() * LaneTiles());
    if (phase == 0) ClearSums(own);
    if (phase + 1 == NumPhases()) return Write(head, first_token, first_lane, thread, own);
    if (first_lane >= args.w_uk.cols) return;  // no sums among these lanes
    const int64_t group = head * args.num_kv_groups / args.num_heads;
    const T* data = static_cast<const T*>(args.w_uk.data) + group * args.w_uk_group_stride;
    const ProductWeights<T> w = {data, args.w_uk.cols, args.nope_dim, args.w_uk.ld, true};
    const float* queries = Query(first_token, head);
    const auto element = [&](int row, int64_t k) {
      return first_token + row < args.q.rows ? RoundFor<T>(queries[row * args.q.ld + k]) : 0.0f;
    };
    RunProduct(phase, element, w, first_lane, thread, own, shared);
  }

 private:
  LATENTD_HD const float* Query(int64_t token, int64_t head) const {
    return RowOf(args.q, token) + head * (args.nope_dim + args.rope_dim);
  }
  LATENTD_HD void Write(int64_t head, int64_t first_token, int64_t first_lane, int thread,
                        const Thread& own) const {
    ForEachOutput(thread, own, [&](int i, int j, float sum) {
      const int64_t token = first_token + i, lane = first_lane + j;
      if (token >= args.q.rows || lane >= args.out_ld) return;
      const int64_t rope = lane - args.row_latent;
      float value = lane < args.w_uk.cols ? sum : 0;
      if (rope >= 0 && rope < args.rope_dim) value = Query(token, head)[args.nope_dim + rope];
      args.out[(token * args.num_heads + head) * args.out_ld + lane] = ToBf16(value);
    });
  }
};
// run(body), of the weights' type.
template <typename Run>
void WithAbsorbQuery(const AbsorbQueryArgs& args, const Run& run) {
  LATENTD_CHECK(args.num_heads >= 1 && args.num_kv_groups >= 1 &&
                args.num_heads % args.num_kv_groups == 0);
  LATENTD_CHECK(args.q.cols == args.num_heads * (args.nope_dim + args.rope_dim));
  LATENTD_CHECK(args.w_uk.rows == args.nope_dim && args.w_uk.cols <= args.row_latent &&
                args.w_uk.ld >= args.w_uk.cols);
  LATENTD_CHECK(args.rope_dim >= 0 && args.out_ld >= args.row_latent + args.rope_dim);
  ForWeightType(args.w_uk.dtype,
                [&](auto element) { run(AbsorbQueryBody<decltype(element)>{args}); });
}

struct ScaleRowsBody : ElementGrid {
  MatrixView<float> x;
  const float* factors;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i < rows * cols) RowOf(x, i / cols)[i % cols] *= factors[i / cols];
  }
};
inline ScaleRowsBody MakeScaleRows(MatrixView<float> x, const float* factors) {
  return {{x.rows, x.cols}, x, factors};
}

struct GatherRowsBody : ElementGrid {
  MatrixView<const float> x;
  const int32_t* from;
  MatrixView<float> out;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t row = i / cols, j = i % cols;
    Require(from[row] >= 0 && from[row] < x.rows);
    RowOf(out, row)[j] = RowOf(x, from[row])[j];
  }
};
inline GatherRowsBody MakeGatherRows(MatrixView<const float> x, const int32_t* rows,
                                     MatrixView<float> out) {
  LATENTD_CHECK(x.cols == out.cols);
  return {{out.rows, out.cols}, x, rows, out};
}

}  // namespace latentd::cuda
