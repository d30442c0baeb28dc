// The second kernel of the decode attention.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/decode_params.h"

namespace latentd::cuda {

// out[row] = Σ of the row's partial sums, units folded left into groups and groups folded left,
// divided by the sum of its weights. Aborts when the launch fails.
void LaunchMlaCombine(cudaStream_t stream, int num_row_tiles, const CombineParams& params);

}  // namespace latentd::cuda
