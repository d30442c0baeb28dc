// Sample, emulated: the bodies that the kernels run, in memory of the host.
#include "kernels/cuda/sampler_launch.h"
#include "tests/kernels/cuda/emulated_device.h"
#include "tests/kernels/cuda/emulated_grid.h"

namespace latentd::cuda {

// Emulated threads cost more than their work on a small row. Results do not depend on how many
// there are, so most launches have few, and one in 16 has the kernels' own number.
void Sample(CUstream_st* stream, const SamplerArgs& args) {
  Enqueue(stream, [args] {
    constexpr auto kEmulate = [](const auto& body) { EmulateGrid(body); };
    static int num_launches = 0;
    if (num_launches++ % 16 == 0) {
      WithSampler<kSamplerThreads>(args, kEmulate);
    } else {
      WithSampler<32>(args, kEmulate);
    }
  });
}

}  // namespace latentd::cuda
