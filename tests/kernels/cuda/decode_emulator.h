// The decode attention of kernels/cuda on the CPU: the same items, ring stages, boxes, descriptors,
// fragments and folds, over the model of the hardware in hopper_model.h.
#pragma once

#include "kernels/cuda/mla_decode.h"

namespace latentd::cuda {

// As MlaDecode, with every pointer in host memory. Thread blocks run one after the other, and the
// roles of one take turns tile by tile: what is not shown is that the barriers keep them apart.
void EmulateMlaDecode(const MlaDecodeArgs& args);

}  // namespace latentd::cuda
