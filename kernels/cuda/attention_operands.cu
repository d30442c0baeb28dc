#include "kernels/cuda/attention_operands.h"

#include "kernels/cuda/attention_operands_body.h"
#include "kernels/cuda/launch.cuh"

namespace latentd::cuda {

void AbsorbQuery(CUstream_st* stream, const AbsorbQueryArgs& args) {
  WithAbsorbQuery(args, [&](const auto& body) { Launch(stream, body); });
}

void ScaleRows(CUstream_st* stream, MatrixView<float> x, const float* factors) {
  Launch(stream, MakeScaleRows(x, factors));
}

void GatherRows(CUstream_st* stream, MatrixView<const float> x, const int32_t* rows,
                MatrixView<float> out) {
  Launch(stream, MakeGatherRows(x, rows, out));
}

}  // namespace latentd::cuda
