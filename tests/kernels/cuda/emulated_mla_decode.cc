#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/mla_decode.h"
#include "tests/kernels/cuda/decode_emulator.h"

namespace latentd::cuda {

void MlaDecode(CUstream_st*, const MlaDecodeArgs& args) {
  CheckDecodeArgs(args);
  if (!args.plan->items.empty()) EmulateMlaDecode(args);
}

}  // namespace latentd::cuda
