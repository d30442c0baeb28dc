// BLAS matrices are column-major, so a row-major [T, N] is an N × T with the same distance: the
// library computes yᵀ = op(w) · xᵀ, A being w (its rows along K: transposed), B being x, C and D y.
#include "kernels/cuda/blaslt.h"

#include <dlfcn.h>
#include <library_types.h>

#include <string>
#include <unordered_map>
#include <utility>

#include "kernels/cuda/blaslt_abi.h"
#include "kernels/cuda/check.cuh"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#endif

namespace latentd::cuda {
namespace {

#if __has_include(<cublasLt.h>)
static_assert(CUBLASLT_MATMUL_DESC_TRANSA == lt::kTransposeA &&
              CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT == lt::kBatchCount &&
              CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET == lt::kBatchStride &&
              CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES == lt::kMostWorkspace &&
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES == lt::kLeastAlignmentA &&
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES == lt::kLeastAlignmentB &&
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES == lt::kLeastAlignmentC &&
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES == lt::kLeastAlignmentD &&
              CUBLAS_STATUS_SUCCESS == lt::kSuccess && CUBLAS_OP_N == lt::kNoTranspose &&
              CUBLAS_OP_T == lt::kTranspose && CUBLAS_COMPUTE_32F == lt::kSumsOfFloats);
static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof(lt::Algorithm) &&
              sizeof(cublasLtMatmulHeuristicResult_t) == sizeof(lt::Heuristic) &&
              offsetof(cublasLtMatmulHeuristicResult_t, state) == offsetof(lt::Heuristic, status));
#endif

#define LATENTD_LT_CHECK(call)                                                                \
  do {                                                                                        \
    const int latentd_status = (call);                                                        \
    if (latentd_status != lt::kSuccess)                                                       \
      ::latentd::CheckFailed(__FILE__, __LINE__,                                              \
                             ("cuBLASLt: status " + std::to_string(latentd_status)).c_str()); \
  } while (false)

// Never closed: what it keeps on the device goes with the process.
bool Load(lt::Functions* to, std::string* why) {
  void* const library = dlopen(lt::kLibrary, RTLD_NOW | RTLD_LOCAL);
  bool found = library != nullptr;
  const auto find = [&](const char* name, auto* function) {
    if (!found) return;
    void* const symbol = dlsym(library, name);
    found = symbol != nullptr;
    *function = reinterpret_cast<std::remove_pointer_t<decltype(function)>>(symbol);
  };
  find("cublasLtCreate", &to->Create);
  find("cublasLtDestroy", &to->Destroy);
  find("cublasLtMatmulDescCreate", &to->ProductCreate);
  find("cublasLtMatmulDescSetAttribute", &to->ProductSet);
  find("cublasLtMatmulDescDestroy", &to->ProductDestroy);
  find("cublasLtMatrixLayoutCreate", &to->LayoutCreate);
  find("cublasLtMatrixLayoutSetAttribute", &to->LayoutSet);
  find("cublasLtMatrixLayoutDestroy", &to->LayoutDestroy);
  find("cublasLtMatmulPreferenceCreate", &to->PreferenceCreate);
  find("cublasLtMatmulPreferenceSetAttribute", &to->PreferenceSet);
  find("cublasLtMatmulPreferenceDestroy", &to->PreferenceDestroy);
  find("cublasLtMatmulAlgoGetHeuristic", &to->Choose);
  find("cublasLtMatmul", &to->Multiply);
  if (!found) *why = dlerror();
  return found;
}

struct ShapeHash {
  size_t operator()(const LibraryShape& s) const {
    size_t hash = s.transposed ? 1 : 0;
    for (const int64_t value :
         {s.tokens, s.n, s.k, s.x_ld, s.w_ld, s.y_ld, s.batch, s.x_stride, s.w_stride, s.y_stride,
          int64_t{s.x_alignment}, int64_t{s.w_alignment}, int64_t{s.y_alignment}}) {
      hash = (hash ^ static_cast<size_t>(value)) * 0x9e3779b97f4a7c15u;
    }
    return hash;
  }
};

// What the library wants to know of a shape, and the algorithm that it chose.
struct Planned {
  void *product = nullptr, *w = nullptr, *x = nullptr, *y = nullptr;
  lt::Algorithm algorithm;
  bool has_algorithm = false;
};

}  // namespace

struct BlasLt::State {
  lt::Functions lt;
  void* handle = nullptr;
  void* preference = nullptr;
  std::unordered_map<LibraryShape, Planned, ShapeHash> planned;

  template <typename Set, typename Value>
  void Apply(Set set, void* to, int attribute, Value value) const {
    LATENTD_LT_CHECK(set(to, attribute, &value, sizeof value));
  }
  void* Layout(int type, int64_t rows, int64_t cols, int64_t ld, int64_t batch,
               int64_t stride) const {
    void* layout = nullptr;
    LATENTD_LT_CHECK(lt.LayoutCreate(&layout, type, static_cast<uint64_t>(rows),
                                     static_cast<uint64_t>(cols), ld));
    if (batch > 1) {
      Apply(lt.LayoutSet, layout, lt::kBatchCount, static_cast<int32_t>(batch));
      Apply(lt.LayoutSet, layout, lt::kBatchStride, stride);
    }
    return layout;
  }
  Planned Plan(const LibraryShape& s) const;
  const Planned& Find(const LibraryShape& shape);
  ~State();
};

Planned BlasLt::State::Plan(const LibraryShape& s) const {
  Planned plan;
  LATENTD_LT_CHECK(lt.ProductCreate(&plan.product, lt::kSumsOfFloats, CUDA_R_32F));
  Apply(lt.ProductSet, plan.product, lt::kTransposeA,
        int32_t{s.transposed ? lt::kNoTranspose : lt::kTranspose});
  plan.w = Layout(CUDA_R_16BF, s.transposed ? s.n : s.k, s.transposed ? s.k : s.n, s.w_ld, s.batch,
                  s.w_stride);
  plan.x = Layout(CUDA_R_16BF, s.k, s.tokens, s.x_ld, s.batch, s.x_stride);
  plan.y = Layout(CUDA_R_32F, s.n, s.tokens, s.y_ld, s.batch, s.y_stride);
  Apply(lt.PreferenceSet, preference, lt::kLeastAlignmentA, s.w_alignment);
  Apply(lt.PreferenceSet, preference, lt::kLeastAlignmentB, s.x_alignment);
  Apply(lt.PreferenceSet, preference, lt::kLeastAlignmentC, s.y_alignment);
  Apply(lt.PreferenceSet, preference, lt::kLeastAlignmentD, s.y_alignment);
  lt::Heuristic best = {};
  int count = 0;
  // A shape without an algorithm is a status too, and no failure.
  const int status =
      lt.Choose(handle, plan.product, plan.w, plan.x, plan.y, plan.y, preference, 1, &best, &count);
  plan.has_algorithm = status == lt::kSuccess && count == 1 && best.status == lt::kSuccess;
  plan.algorithm = best.algorithm;
  return plan;
}

const Planned& BlasLt::State::Find(const LibraryShape& shape) {
  const auto place = planned.find(shape);
  return place != planned.end() ? place->second : planned.emplace(shape, Plan(shape)).first->second;
}

BlasLt::State::~State() {
  for (const auto& [shape, plan] : planned) {
    for (void* layout : {plan.w, plan.x, plan.y}) lt.LayoutDestroy(layout);
    lt.ProductDestroy(plan.product);
  }
  if (preference != nullptr) lt.PreferenceDestroy(preference);
  if (handle != nullptr) lt.Destroy(handle);
}

BlasLt::BlasLt(std::unique_ptr<State> state) : state_(std::move(state)) {}
BlasLt::~BlasLt() = default;

std::unique_ptr<BlasLt> BlasLt::TryMake(std::string* why) {
  auto state = std::make_unique<State>();
  if (!Load(&state->lt, why)) return nullptr;
  if (const int status = state->lt.Create(&state->handle); status != lt::kSuccess) {
    *why = "cublasLtCreate gives status " + std::to_string(status);  // an older driver, say
    return nullptr;
  }
  LATENTD_LT_CHECK(state->lt.PreferenceCreate(&state->preference));
  state->Apply(state->lt.PreferenceSet, state->preference, lt::kMostWorkspace,
               uint64_t{kWorkspaceBytes});
  return std::unique_ptr<BlasLt>(new BlasLt(std::move(state)));
}

bool BlasLt::Knows(const LibraryShape& shape) {
  return shape.is_empty() || state_->Find(shape).has_algorithm;
}

void BlasLt::Multiply(CUstream_st* stream, const LibraryProduct& product, std::byte* workspace) {
  if (product.shape.is_empty()) return;
  const Planned& plan = state_->Find(product.shape);
  LATENTD_CHECK(plan.has_algorithm);
  const float alpha = 1, beta = 0;
  LATENTD_LT_CHECK(state_->lt.Multiply(
      state_->handle, plan.product, &alpha, product.w, plan.w, product.x, plan.x, &beta, product.y,
      plan.y, product.y, plan.y, &plan.algorithm, workspace, kWorkspaceBytes, stream));
}

}  // namespace latentd::cuda
