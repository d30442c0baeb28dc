#include "kernels/cuda/library_rows.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/library_rows_body.h"

namespace latentd::cuda {

void RoundRows(CUstream_st* stream, const RoundRowsArgs& args) {
  Launch(stream, MakeRoundRows(args));
}

void PackQuery(CUstream_st* stream, const AbsorbQueryArgs& args, const float* sums,
               int64_t sums_ld) {
  Launch(stream, MakePackQuery(args, sums, sums_ld));
}

}  // namespace latentd::cuda
