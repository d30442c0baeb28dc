// The plain operators of kernels/cuda, emulated: the bodies that the kernels run, in memory of the
// host.
#include "kernels/cuda/operators.h"

#include "kernels/cuda/attention_operands_body.h"
#include "kernels/cuda/elementwise_body.h"
#include "kernels/cuda/expert_groups_body.h"
#include "kernels/cuda/expert_mlp_body.h"
#include "kernels/cuda/key_scalars_body.h"
#include "kernels/cuda/latent_write.h"
#include "kernels/cuda/linear_body.h"
#include "kernels/cuda/matrix_linear.h"
#include "kernels/cuda/norm_body.h"
#include "kernels/cuda/router_body.h"
#include "tests/kernels/cuda/emulated_grid.h"

namespace latentd::cuda {
namespace {

constexpr auto kEmulate = [](const auto& body) { EmulateGrid(body); };

template <typename Args>
void Multiply(CUstream_st* stream, const Args& args) {
  if (!TakesMatrixUnits(args)) return WithLinear(args, kEmulate);
  static bool is_large = false;  // machines of 132 processors and of one in turn
  is_large = !is_large;
  MatrixLinear(stream, args, PlanLinear(args, is_large ? 132 : 1));
}

}  // namespace

void RmsNorm(CUstream_st*, MatrixView<const float> x, const float* weight, float epsilon,
             MatrixView<float> y) {
  EmulateGrid(MakeRmsNorm(x, weight, epsilon, y));
}
void Rope(CUstream_st*, MatrixView<float> x, MatrixView<const float> angles, int64_t rows_per_angle,
          bool interleaved) {
  EmulateGrid(MakeRope(x, angles, rows_per_angle, interleaved));
}
void Embedding(CUstream_st*, std::span<const uint32_t> ids, const WeightView& table,
               MatrixView<float> out) {
  WithEmbedding(ids, table, out, kEmulate);
}
void SiluMul(CUstream_st*, MatrixView<float> gate, MatrixView<const float> up) {
  EmulateGrid(MakeSiluMul(gate, up));
}
void AddInPlace(CUstream_st*, MatrixView<float> x, MatrixView<const float> y, float scale) {
  EmulateGrid(MakeAdd(x, y, scale));
}
void ScaleInPlace(CUstream_st*, MatrixView<float> x, float scale) {
  EmulateGrid(MakeScale(x, scale));
}
void Linear(CUstream_st* stream, const LinearArgs& args) { Multiply(stream, args); }
void LinearTransposed(CUstream_st* stream, const LinearTransposedArgs& args) {
  Multiply(stream, args);
}
void RouteExperts(CUstream_st*, const RouterConfig& config, MatrixView<const float> logits,
                  const float* bias, MatrixView<int32_t> experts, MatrixView<float> weights) {
  EmulateGrid(MakeRouter(config, logits, bias, experts, weights));
}
void LatentWrite(CUstream_st*, const LatentWriteArgs& args) {
  EmulateGrid(MakeLatentWrite(args));
  if (args.key_norm != KeyNorm::kNone) WithKeyScalars(args, kEmulate);
}
void AbsorbQuery(CUstream_st*, const AbsorbQueryArgs& args) { WithAbsorbQuery(args, kEmulate); }
void ScaleRows(CUstream_st*, MatrixView<float> x, const float* factors) {
  EmulateGrid(MakeScaleRows(x, factors));
}
void GatherRows(CUstream_st*, MatrixView<const float> x, const int32_t* rows,
                MatrixView<float> out) {
  EmulateGrid(MakeGatherRows(x, rows, out));
}
void GroupByExpert(CUstream_st*, const GroupByExpertArgs& args) {
  WithGroupByExpert(args, kEmulate);
}
void ExpertMlps(CUstream_st*, const ExpertMlpArgs& args) { WithExpertMlps(args, kEmulate); }
void SumExperts(CUstream_st*, const SumExpertsArgs& args) { EmulateGrid(MakeSumExperts(args)); }

}  // namespace latentd::cuda
