// Every CUDA call is checked; a failure is a broken invariant of ours and aborts with its place.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/core/check.h"

#define LATENTD_CUDA_CHECK(call)                                                     \
  do {                                                                               \
    const cudaError_t latentd_error = (call);                                        \
    if (latentd_error != cudaSuccess)                                                \
      ::latentd::CheckFailed(__FILE__, __LINE__, cudaGetErrorString(latentd_error)); \
  } while (false)
