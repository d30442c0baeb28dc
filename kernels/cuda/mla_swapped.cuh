// The first kernel of the decode attention where query rows are wgmma's columns.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include "kernels/cuda/decode_params.h"

namespace latentd::cuda {

// As LaunchMlaDecode, for up to `columns` (16, 32 or 64) rows a tile; q_map: QueryBox of so many.
void LaunchMlaSwapped(cudaStream_t stream, int columns, int latent_chunks, int num_ctas,
                      const CUtensorMap& q_map, const CUtensorMap& latent_map,
                      const DecodeParams& params);

}  // namespace latentd::cuda
