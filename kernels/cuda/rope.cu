#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operators.h"
#include "kernels/cuda/rope_body.h"

namespace latentd::cuda {

void Rope(CUstream_st* stream, MatrixView<float> x, MatrixView<const float> angles,
          int64_t rows_per_angle, bool interleaved) {
  Launch(stream, MakeRope(x, angles, rows_per_angle, interleaved));
}

}  // namespace latentd::cuda
