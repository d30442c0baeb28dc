#include "tests/kernels/cuda/decode_emulator.h"
#include "tests/kernels/cuda/decode_runner.h"

namespace latentd::cuda {

void RunMlaDecode(const MlaDecodeArgs& args, int64_t) { EmulateMlaDecode(args); }

}  // namespace latentd::cuda
