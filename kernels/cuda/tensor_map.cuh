// Encodes what TMA reads: a TensorBox (decode_layout.h) at an address.
#pragma once

#include <cuda.h>

#include "kernels/cuda/decode_layout.h"

namespace latentd::cuda {

// bf16, 128-byte swizzle, zeros outside. Host only; needs a driver. Aborts when the driver refuses.
CUtensorMap EncodeTensorMap(const void* address, const TensorBox& box);

}  // namespace latentd::cuda
