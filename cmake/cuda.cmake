# CUDA 13 for kernels/cuda: the compiler that `scripts/setup cuda` puts into .cache/cuda, or one in PATH
# or in /usr/local/cuda.
find_program(LATENTD_NVCC nvcc
  HINTS ${CMAKE_SOURCE_DIR}/.cache/cuda/nvidia/cu13/bin
  PATHS /usr/local/cuda/bin
  DOC "CUDA compiler")
if(NOT LATENTD_NVCC)
  message(FATAL_ERROR "LATENTD_CUDA=ON needs CUDA 13: run `scripts/setup cuda`, or install it and put nvcc into PATH")
endif()
set(CMAKE_CUDA_COMPILER ${LATENTD_NVCC})
# sm_90a's instructions exist nowhere else; -arch=sm_90a would add PTX that no other chip can take.
set(CMAKE_CUDA_ARCHITECTURES OFF)
set(CMAKE_CUDA_FLAGS "-gencode arch=compute_90a,code=sm_90a")
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
endif()
set(CMAKE_CUDA_STANDARD 20)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13 OR CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 14)
  message(FATAL_ERROR "LATENTD_CUDA=ON needs CUDA 13, not ${CMAKE_CUDA_COMPILER_VERSION}")
endif()
# The runtime library, by hand: FindCUDAToolkit of CMake 3.25 stumbles over what CUDA 13 left out.
get_filename_component(cuda_bin ${CMAKE_CUDA_COMPILER} DIRECTORY)
find_library(LATENTD_CUDART cudart_static HINTS ${cuda_bin}/../lib64 ${cuda_bin}/../lib REQUIRED)
