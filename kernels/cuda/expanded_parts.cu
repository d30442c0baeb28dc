#include "kernels/cuda/expanded_parts.h"

#include "kernels/cuda/expanded_softmax_body.h"
#include "kernels/cuda/expanded_span_body.h"
#include "kernels/cuda/launch.cuh"

namespace latentd::cuda {

void GatherSpan(CUstream_st* stream, const GatherSpanArgs& args) {
  Launch(stream, MakeGatherSpan(args));
}

void PackSpan(CUstream_st* stream, const PackSpanArgs& args) { Launch(stream, MakePackSpan(args)); }

void WeighSpan(CUstream_st* stream, const WeighSpanArgs& args) {
  Launch(stream, MakeWeighSpan(args));
}

void MergeSpan(CUstream_st* stream, const MergeSpanArgs& args) {
  Launch(stream, MakeMergeSpan(args));
}

}  // namespace latentd::cuda
