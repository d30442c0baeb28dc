// The decode attention of kernels/cuda on the CPU: the same items, ring stages, boxes, descriptors,
// fragments and folds, over the model of the hardware in hopper_model.h.
#pragma once

#include "kernels/cuda/mla_decode.h"

namespace latentd::cuda {

// As MlaDecode, with every pointer in host memory. Thread blocks run one after the other, and the
// roles of one take turns tile by tile: decode_protocol_test.cc is about the barriers.
void EmulateMlaDecode(const MlaDecodeArgs& args);

}  // namespace latentd::cuda
