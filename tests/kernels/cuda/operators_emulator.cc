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
#include "tests/kernels/cuda/emulated_device.h"
#include "tests/kernels/cuda/emulated_grid.h"

namespace latentd::cuda {
namespace {

// As launch.cuh: of a kernel, the body is what is kept.
template <typename Body>
void Launch(CUstream_st* stream, const Body& body) {
  Enqueue(stream, [body] { EmulateGrid(body); });
}

auto LaunchOn(CUstream_st* stream) {
  return [stream](const auto& body) { Launch(stream, body); };
}

template <typename Args>
void Multiply(CUstream_st* stream, const Args& args) {
  if (!TakesMatrixUnits(args)) return WithLinear(args, LaunchOn(stream));
  static bool is_large = false;  // machines of 132 processors and of one in turn
  is_large = !is_large;
  const LinearPlan plan = PlanLinear(args, is_large ? 132 : 1);
  Enqueue(stream, [args, plan] { MatrixLinear(nullptr, args, plan); });
}

}  // namespace

void RmsNorm(CUstream_st* stream, MatrixView<const float> x, const float* weight, float epsilon,
             MatrixView<float> y) {
  Launch(stream, MakeRmsNorm(x, weight, epsilon, y));
}
void Rope(CUstream_st* stream, MatrixView<float> x, MatrixView<const float> angles,
          int64_t rows_per_angle, bool interleaved) {
  Launch(stream, MakeRope(x, angles, rows_per_angle, interleaved));
}
void Embedding(CUstream_st* stream, std::span<const uint32_t> ids, const WeightView& table,
               MatrixView<float> out) {
  WithEmbedding(ids, table, out, LaunchOn(stream));
}
void SiluMul(CUstream_st* stream, MatrixView<float> gate, MatrixView<const float> up) {
  Launch(stream, MakeSiluMul(gate, up));
}
void AddInPlace(CUstream_st* stream, MatrixView<float> x, MatrixView<const float> y, float scale) {
  Launch(stream, MakeAdd(x, y, scale));
}
void ScaleInPlace(CUstream_st* stream, MatrixView<float> x, float scale) {
  Launch(stream, MakeScale(x, scale));
}
void Linear(CUstream_st* stream, const LinearArgs& args) { Multiply(stream, args); }
void LinearTransposed(CUstream_st* stream, const LinearTransposedArgs& args) {
  Multiply(stream, args);
}
void RouteExperts(CUstream_st* stream, const RouterConfig& config, MatrixView<const float> logits,
                  const float* bias, MatrixView<int32_t> experts, MatrixView<float> weights) {
  Launch(stream, MakeRouter(config, logits, bias, experts, weights));
}
void LatentWrite(CUstream_st* stream, const LatentWriteArgs& args) {
  Launch(stream, MakeLatentWrite(args));
  if (args.key_norm != KeyNorm::kNone) WithKeyScalars(args, LaunchOn(stream));
}
void AbsorbQuery(CUstream_st* stream, const AbsorbQueryArgs& args) {
  WithAbsorbQuery(args, LaunchOn(stream));
}
void ScaleRows(CUstream_st* stream, MatrixView<float> x, const float* factors) {
  Launch(stream, MakeScaleRows(x, factors));
}
void GatherRows(CUstream_st* stream, MatrixView<const float> x, const int32_t* rows,
                MatrixView<float> out) {
  Launch(stream, MakeGatherRows(x, rows, out));
}
void GroupByExpert(CUstream_st* stream, const GroupByExpertArgs& args) {
  WithGroupByExpert(args, LaunchOn(stream));
}
void ExpertMlps(CUstream_st* stream, const ExpertMlpArgs& args) {
  WithExpertMlps(args, LaunchOn(stream));
}
void SumExperts(CUstream_st* stream, const SumExpertsArgs& args) {
  Launch(stream, MakeSumExperts(args));
}

}  // namespace latentd::cuda
