// Which work items of a decode plan a thread block takes: the same for every role in it.
#pragma once

#include "kernels/cuda/decode_params.h"
#include "kernels/cuda/host_device.h"

namespace latentd::cuda {

// Calls use(item) for every num_ctas-th item from number `cta` on, up to the first that ends the
// walk (EndsWalk).
template <typename Use>
LATENTD_HD void ForEachItem(const DecodeParams& params, int cta, int num_ctas, const Use& use) {
  for (int i = cta; i < params.num_items; i += num_ctas) {
    const DecodeItem item = params.items[i];
    if (EndsWalk(item)) break;
    use(item);
  }
}

}  // namespace latentd::cuda
