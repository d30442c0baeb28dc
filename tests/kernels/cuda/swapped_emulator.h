// The kernel of exchanged roles (kernels/cuda/mla_swapped.cu) on the CPU, as decode_emulator.h
// says.
#pragma once

#include "kernels/cuda/decode_params.h"

namespace latentd::cuda {

// Partial sums of every item into its slot; columns: 16, 32 or 64.
void EmulateSwappedItems(const MlaDecodeArgs& args, const DecodeParams& params, int columns);

}  // namespace latentd::cuda
