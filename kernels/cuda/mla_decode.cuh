// The first kernel of the decode attention: partial sums of every item into its slot.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "kernels/cuda/decode_params.h"

namespace latentd::cuda {

// q_map: QueryBox, latent_map: LatentBox (decode_layout.h); latent_chunks = r_w / 64, 1…8; of the
// plan its sizes. Aborts when the launch fails.
void LaunchMlaDecode(cudaStream_t stream, int latent_chunks, const DecodePlan& plan,
                     const CUtensorMap& q_map, const CUtensorMap& latent_map,
                     const DecodeParams& params);

}  // namespace latentd::cuda
