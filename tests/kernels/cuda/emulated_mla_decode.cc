#include <algorithm>

#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/mla_decode.h"
#include "tests/kernels/cuda/decode_emulator.h"
#include "tests/kernels/cuda/emulated_device.h"

namespace latentd::cuda {
namespace {

// What the device is given of a plan by value.
DecodePlan SizesOf(DecodePlan plan) {
  std::fill(plan.items.begin(), plan.items.end(), DecodeItem());
  std::fill(plan.row_tiles.begin(), plan.row_tiles.end(), DecodeRowTile());
  return plan;
}

}  // namespace

void MlaDecode(CUstream_st* stream, const MlaDecodeArgs& args) {
  CheckDecodeArgs(args);
  if (args.plan->items.empty()) return;
  Enqueue(stream, [args, sizes = SizesOf(*args.plan)] {
    MlaDecodeArgs given = args;
    given.plan = &sizes;
    EmulateMlaDecode(given);
  });
}

}  // namespace latentd::cuda
