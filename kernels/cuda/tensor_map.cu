#include "kernels/cuda/tensor_map.cuh"

#include <cudaTypedefs.h>

#include "kernels/cuda/check.cuh"

namespace latentd::cuda {
namespace {

// The encoder lives in the driver; asking the runtime for it spares us a link with libcuda, which
// machines without a GPU lack.
PFN_cuTensorMapEncodeTiled_v12000 Encoder() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    LATENTD_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                        cudaEnableDefault, &found));
    LATENTD_CHECK(found == cudaDriverEntryPointSuccess);
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  return encoder;
}

}  // namespace

CUtensorMap EncodeTensorMap(const void* address, const TensorBox& box) {
  const cuuint32_t element_strides[3] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      Encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(box.rank),
                const_cast<void*>(address), reinterpret_cast<const cuuint64_t*>(box.size.data()),
                reinterpret_cast<const cuuint64_t*>(box.stride_bytes.data()), box.box.data(),
                element_strides, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  LATENTD_CHECK(result == CUDA_SUCCESS);
  return map;
}

}  // namespace latentd::cuda
