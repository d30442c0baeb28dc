#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/norm_body.h"
#include "kernels/cuda/operators.h"

namespace latentd::cuda {

void RmsNorm(CUstream_st* stream, MatrixView<const float> x, const float* weight, float epsilon,
             MatrixView<float> y) {
  Launch(stream, MakeRmsNorm(x, weight, epsilon, y));
}

}  // namespace latentd::cuda
