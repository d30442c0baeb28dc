// The decode attention of kernels/cuda on the CPU: the same items, ring stages, boxes, descriptors,
// fragments and folds, over the model of the hardware in hopper_model.h.
#pragma once

#include "kernels/cuda/mla_decode.h"

namespace latentd::cuda {

// As MlaDecode, with every pointer in host memory. Clusters run one after the other; the blocks of
// one, and in each what fills its ring and what empties it, take turns tile by tile in random
// order: decode_protocol_test.cc is about the barriers.
void EmulateMlaDecode(const MlaDecodeArgs& args);

}  // namespace latentd::cuda
