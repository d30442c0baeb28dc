// Marks a function that kernels and CPU tests share. Headers with this mark need no CUDA.
#pragma once

#if defined(__CUDACC__)
#define LATENTD_HD __host__ __device__
#else
#define LATENTD_HD
#endif
