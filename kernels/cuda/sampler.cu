#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sampler_launch.h"

namespace latentd::cuda {

void Sample(CUstream_st* stream, const SamplerArgs& args) {
  WithSampler<kSamplerThreads>(args, [&](const auto& body) { Launch(stream, body); });
}

}  // namespace latentd::cuda
