// kernels/cuda/expanded_parts.h on the CPU.
#include "kernels/cuda/expanded_parts.h"

#include "kernels/cuda/expanded_softmax_body.h"
#include "kernels/cuda/expanded_span_body.h"
#include "tests/kernels/cuda/emulated_device.h"
#include "tests/kernels/cuda/emulated_grid.h"

namespace latentd::cuda {

void GatherSpan(CUstream_st* stream, const GatherSpanArgs& args) {
  Enqueue(stream, [body = MakeGatherSpan(args)] { EmulateGrid(body); });
}
void PackSpan(CUstream_st* stream, const PackSpanArgs& args) {
  Enqueue(stream, [body = MakePackSpan(args)] { EmulateGrid(body); });
}
void WeighSpan(CUstream_st* stream, const WeighSpanArgs& args) {
  Enqueue(stream, [body = MakeWeighSpan(args)] { EmulateGrid(body); });
}
void MergeSpan(CUstream_st* stream, const MergeSpanArgs& args) {
  Enqueue(stream, [body = MakeMergeSpan(args)] { EmulateGrid(body); });
}

}  // namespace latentd::cuda
