// The part of cuBLASLt's binary interface that blaslt.cu calls. Declared here, so that a build
// needs neither the library (half a gigabyte) nor its header; where the header is, blaslt.cu
// compares the two.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace latentd::cuda::lt {

// libcublasLt.so.13 keeps these as long as it has that name.
constexpr const char* kLibrary = "libcublasLt.so.13";
constexpr int kSuccess = 0;
constexpr int kNoTranspose = 0, kTranspose = 1;  // cublasOperation_t
constexpr int kSumsOfFloats = 68;                // CUBLAS_COMPUTE_32F
// Attributes.
constexpr int kTransposeA = 3;       // of a product: int32_t
constexpr int kBatchCount = 5;       // of a layout: int32_t
constexpr int kBatchStride = 6;      // of a layout: int64_t, elements
constexpr int kMostWorkspace = 1;    // of a preference: uint64_t, bytes
constexpr int kLeastAlignmentA = 5;  // of a preference: uint32_t, bytes; then B, C, D
constexpr int kLeastAlignmentB = 6;
constexpr int kLeastAlignmentC = 7;
constexpr int kLeastAlignmentD = 8;

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};

// Handles, products, layouts and preferences are the library's own: pointers. Types of data are
// library_types.h's.
struct Functions {
  int (*Create)(void** handle);
  int (*Destroy)(void* handle);
  int (*ProductCreate)(void** product, int compute, int scale_type);
  int (*ProductSet)(void* product, int attribute, const void* value, size_t bytes);
  int (*ProductDestroy)(void* product);
  int (*LayoutCreate)(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
  int (*LayoutSet)(void* layout, int attribute, const void* value, size_t bytes);
  int (*LayoutDestroy)(void* layout);
  int (*PreferenceCreate)(void** preference);
  int (*PreferenceSet)(void* preference, int attribute, const void* value, size_t bytes);
  int (*PreferenceDestroy)(void* preference);
  int (*Choose)(void* handle, void* product, void* a, void* b, void* c, void* d, void* preference,
                int most, Heuristic* results, int* count);
  int (*Multiply)(void* handle, void* product, const void* alpha, const void* a, void* a_layout,
                  const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                  void* d, void* d_layout, const Algorithm* algorithm, void* workspace,
                  size_t workspace_bytes, CUstream_st* stream);
};

}  // namespace latentd::cuda::lt
