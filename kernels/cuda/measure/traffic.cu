#include "kernels/cuda/measure/traffic.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/measure/traffic_body.h"

namespace latentd::cuda {

void FillRandom(CUstream_st* stream, std::byte* to, int64_t bytes, uint32_t seed) {
  Launch(stream, MakeFill(to, bytes, seed));
}
void CopyBytes(CUstream_st* stream, const std::byte* from, std::byte* to, int64_t bytes) {
  Launch(stream, MakeCopy(from, to, bytes));
}
void ReadBytes(CUstream_st* stream, const std::byte* from, int64_t bytes, std::byte* folded,
               int num_processors) {
  Launch(stream, MakeRead(from, bytes, folded, num_processors));
}
int64_t ReadScratchBytes(int num_processors) { return ReadThreads(num_processors) * 4; }

}  // namespace latentd::cuda
