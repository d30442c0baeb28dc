#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/linear_body.h"
#include "kernels/cuda/operators.h"

namespace latentd::cuda {

void Linear(CUstream_st* stream, const LinearArgs& args) {
  WithLinear(args, [&](const auto& body) { Launch(stream, body); });
}

void LinearTransposed(CUstream_st* stream, const LinearTransposedArgs& args) {
  WithLinear(args, [&](const auto& body) { Launch(stream, body); });
}

}  // namespace latentd::cuda
