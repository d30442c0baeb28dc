// kernels/cuda/measure/traffic.h, emulated: bodies as in operators_emulator.cc, the matrix units by
// the model of the hardware.
#include <numeric>
#include <vector>

#include "kernels/cuda/measure/matrix_rate.h"
#include "kernels/cuda/measure/traffic.h"
#include "kernels/cuda/measure/traffic_body.h"
#include "tests/kernels/cuda/emulated_grid.h"
#include "tests/kernels/cuda/hopper_model.h"

namespace latentd::cuda {

void FillRandom(CUstream_st*, std::byte* to, int64_t bytes, uint32_t seed) {
  EmulateGrid(MakeFill(to, bytes, seed));
}
void CopyBytes(CUstream_st*, const std::byte* from, std::byte* to, int64_t bytes) {
  EmulateGrid(MakeCopy(from, to, bytes));
}
void ReadBytes(CUstream_st*, const std::byte* from, int64_t bytes, std::byte* folded,
               int num_processors) {
  EmulateGrid(MakeRead(from, bytes, folded, num_processors));
}
int64_t ReadScratchBytes(int num_processors) { return ReadThreads(num_processors) * 4; }

double MultiplyMatrices(CUstream_st*, int steps, int num_processors, std::byte* out) {
  constexpr int kSums = kMatrixColumns / 2;
  auto* totals = reinterpret_cast<float*>(out);
  for (int block = 0; block < num_processors; ++block) {
    std::vector<uint32_t> operands(kMatrixWords);
    for (size_t i = 0; i < operands.size(); ++i) {
      operands[i] = RandomPair(i, static_cast<uint32_t>(block));
    }
    for (int group = 0; group < kMatrixGroups; ++group) {
      const uint64_t a = DescriptorAlongLanes(static_cast<uint32_t>(group * kChunkBytes));
      const uint64_t b = DescriptorAlongLanes(kMatrixColumnsChunk * kChunkBytes);
      std::vector<float> sums(128 * kSums);
      for (int step = 0; step < steps * kStepsPerChunk; ++step) {
        const int lanes = step % kStepsPerChunk * kStepBytesAlongLanes;
        ModelWgmma(std::as_bytes(std::span(operands)), Advance(a, lanes), Advance(b, lanes),
                   Major::kDepth, kMatrixColumns, sums);
      }
      for (int thread = 0; thread < 128; ++thread, ++totals) {
        const auto own = sums.begin() + thread * kSums;
        *totals = std::accumulate(own, own + kSums, 0.0f);
      }
    }
  }
  return 2.0 * kTileRows * kMatrixColumns * kChunkLanes * kMatrixGroups * steps * num_processors;
}
int64_t MatrixScratchBytes(int num_processors) {
  return int64_t{num_processors} * kMatrixThreads * static_cast<int64_t>(sizeof(float));
}

}  // namespace latentd::cuda
