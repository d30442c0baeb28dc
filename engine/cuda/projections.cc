#include "engine/cuda/projections.h"

#include "kernels/core/check.h"
#include "kernels/cuda/library_rows.h"
#include "kernels/cuda/operators.h"

namespace latentd {

bool Projections::ByLibrary(const cuda::MatrixProduct& product) {
  if (library_ == nullptr || !cuda::TakesLibrary(product)) return false;
  const LinearArgs& args = product.args;
  const int64_t ld = cuda::RoundedLd(product.k);
  const auto part = [&](int64_t i) { return cuda::LibraryProductOf(product, a_.rounded, i); };
  for (int64_t i = 0; i < args.w_batch_share; ++i) {
    if (!library_->Knows(part(i).shape)) return false;
  }
  LATENTD_CHECK(args.batch * args.x.rows * ld <= a_.rounded_size);
  cuda::RoundRows(stream_, {.x = args.x,
                            .batch = args.batch,
                            .x_batch_stride = args.x_batch_stride,
                            .out = a_.rounded,
                            .out_ld = ld});
  for (int64_t i = 0; i < args.w_batch_share; ++i) {
    library_->Multiply(stream_, part(i), a_.library_workspace);
  }
  return true;
}

void Projections::Linear(const LinearArgs& args) {
  if (!ByLibrary(args)) cuda::Linear(stream_, args);
}

void Projections::AbsorbQuery(const cuda::AbsorbQueryArgs& args, float* sums) {
  const LinearTransposedArgs product = {
      .x = args.q.Cols(0, args.nope_dim),
      .w = args.w_uk,
      .y = {sums, args.q.rows, args.w_uk.cols, args.num_heads * args.row_latent},
      .batch = args.num_heads,
      .x_batch_stride = args.nope_dim + args.rope_dim,
      .y_batch_stride = args.row_latent,
      .w_batch_stride = args.w_uk_group_stride,
      .w_batch_share = args.num_heads / args.num_kv_groups};
  if (!ByLibrary(product)) return cuda::AbsorbQuery(stream_, args);
  cuda::PackQuery(stream_, args, sums, args.row_latent);
}

}  // namespace latentd
