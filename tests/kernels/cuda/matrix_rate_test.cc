// The loop that bench/gpu measures the matrix units with multiplies what it says.
#include "kernels/cuda/measure/matrix_rate.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/cuda/measure/traffic.h"
#include "kernels/cuda/measure/traffic_body.h"
#include "tests/kernels/cuda/memory.h"
#include "tests/kernels/support.h"

namespace latentd::cuda {
namespace {

// Lane of a row of the chunks that begin at chunk `chunk` of a block's shared memory.
double Operand(int block, int chunk, int row, int lane) {
  const uint32_t byte = static_cast<uint32_t>((chunk + row / kTileRows) * kChunkBytes) +
                        ChunkByte(row % kTileRows, lane);
  const uint32_t word = RandomPair(byte / 4, static_cast<uint32_t>(block));
  return ToFloat(bf16{static_cast<uint16_t>(byte % 4 == 0 ? word : word >> 16)});
}

TEST_CASE("MultiplyMatrices adds up its products as often as it says", "[small]") {
  constexpr int kSteps = 3, kProcessors = 2;
  const Array out(std::vector<float>(
      static_cast<size_t>(MatrixScratchBytes(kProcessors)) / sizeof(float), NAN));
  const double flops =
      MultiplyMatrices(nullptr, kSteps, kProcessors, reinterpret_cast<std::byte*>(out.data()));
  CHECK(flops == 2.0 * kProcessors * kSteps * kMatrixGroups * 64 * 256 * 64);
  const std::vector<float> sums = out.Read();
  REQUIRE(sums.size() == static_cast<size_t>(kProcessors * kMatrixThreads));
  // Of 128 accumulators of 64 products a step, each below 1: a sum of 192 terms, then one of 128.
  const double bound = (64 * kSteps + 128) * 2 * kHalfUlp * 128 * 64 * kSteps;
  for (int i = 0; i < kProcessors * kMatrixThreads; i += 37) {
    const int block = i / kMatrixThreads, thread = i % kMatrixThreads;
    double expected = 0;
    for (int r = 0; r < kMatrixColumns / 2; ++r) {
      const int row = FragmentRow(thread % 128, r), column = FragmentColumn(thread % 128, r);
      for (int lane = 0; lane < kChunkLanes; ++lane) {
        expected += kSteps * Operand(block, thread / 128, row, lane) *
                    Operand(block, kMatrixColumnsChunk, column, lane);
      }
    }
    INFO("block " << block << " thread " << thread);
    CHECK(std::fabs(sums[static_cast<size_t>(i)] - expected) <= bound);
  }
}

}  // namespace
}  // namespace latentd::cuda
