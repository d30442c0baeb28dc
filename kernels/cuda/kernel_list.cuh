// The kernels of this program, so that LoadKernels (device_memory.h) finds them all.
#pragma once

#include <vector>

namespace latentd::cuda {

// Complete when main begins.
std::vector<const void*>& KernelList();

// Whoever launches a kernel names this, and so has it on the list before main.
template <auto kKernel>
struct ListedKernel {
  static inline const bool listed = [] {
    KernelList().push_back(reinterpret_cast<const void*>(kKernel));
    return true;
  }();
};
template <auto kKernel>
void ListKernel() {
  static_cast<void>(&ListedKernel<kKernel>::listed);
}

}  // namespace latentd::cuda
