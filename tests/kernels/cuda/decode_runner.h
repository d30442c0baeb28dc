// One suite (mla_decode_test.cc), two back ends: the program is linked with one of them.
#pragma once

#include "kernels/cuda/mla_decode.h"

namespace latentd::cuda {

// MlaDecode over views in host memory, of which block_tables has num_tables rows: in the emulator
// (emulator_runner.cc) or on the device (device_runner.cc).
void RunMlaDecode(const MlaDecodeArgs& args, int64_t num_tables);

}  // namespace latentd::cuda
