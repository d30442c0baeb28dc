#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operators.h"
#include "kernels/cuda/router_body.h"

namespace latentd::cuda {

void RouteExperts(CUstream_st* stream, const RouterConfig& config, MatrixView<const float> logits,
                  const float* bias, MatrixView<int32_t> experts, MatrixView<float> weights) {
  Launch(stream, MakeRouter(config, logits, bias, experts, weights));
}

}  // namespace latentd::cuda
