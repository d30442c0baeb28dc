#include "kernels/cuda/latent_write.h"

#include "kernels/cuda/key_scalars_body.h"
#include "kernels/cuda/launch.cuh"

namespace latentd::cuda {

void LatentWrite(CUstream_st* stream, const LatentWriteArgs& args) {
  Launch(stream, MakeLatentWrite(args));
  if (args.key_norm == KeyNorm::kNone) return;
  WithKeyScalars(args, [&](const auto& body) { Launch(stream, body); });
}

}  // namespace latentd::cuda
