#include "kernels/cuda/elementwise_body.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/operators.h"

namespace latentd::cuda {

void Embedding(CUstream_st* stream, std::span<const uint32_t> ids, const WeightView& table,
               MatrixView<float> out) {
  WithEmbedding(ids, table, out, [&](const auto& body) { Launch(stream, body); });
}

void SiluMul(CUstream_st* stream, MatrixView<float> gate, MatrixView<const float> up) {
  Launch(stream, MakeSiluMul(gate, up));
}

void AddInPlace(CUstream_st* stream, MatrixView<float> x, MatrixView<const float> y, float scale) {
  Launch(stream, MakeAdd(x, y, scale));
}

void ScaleInPlace(CUstream_st* stream, MatrixView<float> x, float scale) {
  Launch(stream, MakeScale(x, scale));
}

}  // namespace latentd::cuda
