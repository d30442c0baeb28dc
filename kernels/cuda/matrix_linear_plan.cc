#include <algorithm>
#include <bit>
#include <limits>

#include "kernels/core/check.h"
#include "kernels/cuda/matrix_linear_params.h"
#include "kernels/linear_shapes.h"

namespace latentd::cuda {

bool TakesMatrixUnits(const MatrixProduct& product) {
  const LinearArgs& args = product.args;
  return args.w.dtype == DType::kBF16 && product.k > 0 && args.w.ld % 8 == 0 &&
         args.w_batch_stride % 8 == 0;
}

LinearPlan PlanLinear(const MatrixProduct& product, int num_processors) {
  const int64_t rows = std::min(product.args.x.rows, int64_t{kWidestTile});
  LinearPlan plan = {kNarrowestTile, 1};
  while (plan.tile_tokens < rows) plan.tile_tokens *= 2;
  const int64_t tiles = NumTiles(LinearParamsOf(product, plan));
  // Two tiles to a processor even out what one leaves idle at the end.
  if (tiles < 2 * int64_t{num_processors}) plan.cluster = NumParts(static_cast<int>(product.k));
  return plan;
}

void CheckMatrixLinear(const MatrixProduct& product, const LinearPlan& plan) {
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  const LinearArgs& args = product.args;
  const int64_t m = args.x.rows, n = product.n, k = product.k;
  LATENTD_CHECK(TakesMatrixUnits(product));
  CheckProduct(args, n, k);
  // Tiles may begin up to one tile beyond the last row.
  LATENTD_CHECK(m <= kMost - kWidestTile && n <= kMost - kWidestTile && k <= kMost - kWidestTile &&
                args.batch <= kMost);
  LATENTD_CHECK(reinterpret_cast<uintptr_t>(args.w.data) % 16 == 0);
  LATENTD_CHECK(std::has_single_bit(static_cast<unsigned>(plan.tile_tokens)) &&
                plan.tile_tokens >= kNarrowestTile && plan.tile_tokens <= kWidestTile);
  LATENTD_CHECK(plan.cluster == 1 || plan.cluster == NumParts(static_cast<int>(k)));
  LATENTD_CHECK(NumTiles(LinearParamsOf(product, plan)) <= kMost / kMostParts);
}

}  // namespace latentd::cuda
