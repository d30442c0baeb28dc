// ExpertMlps: three products and SiluMul. SumExperts: a thread for each element.
#pragma once

#include <limits>

#include "kernels/cuda/elementwise_body.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/stored_product.h"

namespace latentd::cuda {

// run(body) for each kernel.
template <typename Run>
void WithExpertMlps(const ExpertMlpArgs& args, const Run& run) {
  const int64_t num_choices = args.x.rows * args.top_k;
  const int64_t num_tiles = MaxExpertTiles(num_choices, args.num_weighted);
  const auto multiply = [&](MatrixView<const float> x, const ExpertMatrices& w, MatrixView<float> y,
                            const int32_t* choices) {
    LATENTD_CHECK(x.cols == w.cols && x.ld >= x.cols);
    LATENTD_CHECK(y.rows == num_choices && y.cols == w.rows && y.ld >= y.cols);
    const auto top_k = static_cast<int32_t>(args.top_k);
    WithStored(w.dtype, GroupedRows{x, w, y, args.groups.tiles, num_tiles, choices, top_k}, run);
  };
  LATENTD_CHECK(args.top_k >= 1 && num_choices <= std::numeric_limits<int32_t>::max());
  multiply(args.x, args.gate, args.hidden_gate, args.groups.choices);
  multiply(args.x, args.up, args.hidden_up, args.groups.choices);
  run(MakeSiluMul(args.hidden_gate, args.hidden_up));
  multiply(args.hidden_gate, args.down, args.results, nullptr);
}

struct SumExpertsBody : ElementGrid {
  SumExpertsArgs args;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t token = i / cols, lane = i % cols;
    float sum = 0;
    for (int64_t j = 0; j < args.experts.cols; ++j) {
      const bool is_identity = RowOf(args.experts, token)[j] >= args.num_weighted;
      const float* result = is_identity
                                ? RowOf(args.x, token)
                                : RowOf(args.results, args.places[token * args.experts.cols + j]);
      sum += RowOf(args.weights, token)[j] * result[lane];
    }
    RowOf(args.out, token)[lane] = sum;
  }
};
inline SumExpertsBody MakeSumExperts(const SumExpertsArgs& args) {
  LATENTD_CHECK(args.x.rows == args.out.rows && args.x.cols == args.out.cols);
  LATENTD_CHECK(args.experts.rows == args.out.rows && args.weights.rows == args.out.rows);
  LATENTD_CHECK(args.weights.cols == args.experts.cols && args.results.cols == args.out.cols);
  LATENTD_CHECK(args.results.rows == args.out.rows * args.experts.cols);
  return {{args.out.rows, args.out.cols}, args};
}

}  // namespace latentd::cuda
