#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/linear_body.h"
#include "kernels/cuda/matrix_linear.h"
#include "kernels/cuda/operators.h"

namespace latentd::cuda {
namespace {

int NumProcessors() {
  int device = 0, count = 0;
  LATENTD_CUDA_CHECK(cudaGetDevice(&device));
  LATENTD_CUDA_CHECK(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

template <typename Args>
void Multiply(CUstream_st* stream, const Args& args) {
  if (TakesMatrixUnits(args)) {
    return MatrixLinear(stream, args, PlanLinear(args, NumProcessors()));
  }
  WithLinear(args, [&](const auto& body) { Launch(stream, body); });
}

}  // namespace

void Linear(CUstream_st* stream, const LinearArgs& args) { Multiply(stream, args); }

void LinearTransposed(CUstream_st* stream, const LinearTransposedArgs& args) {
  Multiply(stream, args);
}

}  // namespace latentd::cuda
