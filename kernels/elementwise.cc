#include "kernels/elementwise.h"

#include <cmath>

#include "kernels/core/check.h"
#include "kernels/core/rows.h"
#include "kernels/cpu/table.h"

namespace latentd {
namespace {

template <typename T>
void CopyRow(const T* from, int64_t cols, float* to) {
  for (int64_t j = 0; j < cols; ++j) to[j] = ToFloat(from[j]);
}

void CopyRow(const float* from, int64_t cols, float* to) { std::copy_n(from, cols, to); }

void SiluMulRow(float* gate, const float* up, int64_t cols) {
  for (int64_t j = 0; j < cols; ++j) gate[j] = gate[j] / (1 + std::exp(-gate[j])) * up[j];
}

}  // namespace

void Embedding(const Context& context, std::span<const uint32_t> ids, const WeightView& table,
               MatrixView<float> out) {
  LATENTD_CHECK(out.rows == static_cast<int64_t>(ids.size()) && out.cols == table.cols);
  ForEachRow(context, out.rows, out.cols, [&](int64_t i) {
    LATENTD_CHECK(ids[i] < table.rows);
    const void* row = table.Rows(ids[i], 1).data;
    switch (table.dtype) {
      case DType::kF32:
        return CopyRow(static_cast<const float*>(row), out.cols, out.row(i));
      case DType::kF16:
        return CopyRow(static_cast<const f16*>(row), out.cols, out.row(i));
      case DType::kBF16:
        return CopyRow(static_cast<const bf16*>(row), out.cols, out.row(i));
      case DType::kE4M3:
      case DType::kInt4:
      case DType::kInt8:
      case DType::kInt4Blocks:
        LATENTD_CHECK(!"an embedding is not quantised");
    }
  });
}

void SiluMul(const Context& context, MatrixView<float> gate, MatrixView<const float> up) {
  LATENTD_CHECK(gate.rows == up.rows && gate.cols == up.cols);
  const CpuKernels* kernels = KernelsOf(context.cpu_path);
  const auto row_function = kernels != nullptr ? kernels->silu_mul : SiluMulRow;
  ForEachRow(context, gate.rows, gate.cols,
             [&](int64_t i) { row_function(gate.row(i), up.row(i), gate.cols); });
}

void AddInPlace(const Context& context, MatrixView<float> x, MatrixView<const float> y,
                float scale) {
  LATENTD_CHECK(x.rows == y.rows && x.cols == y.cols);
  ForEachRow(context, x.rows, x.cols, [&](int64_t i) {
    float* to = x.row(i);
    const float* from = y.row(i);
    for (int64_t j = 0; j < x.cols; ++j) to[j] += scale * from[j];
  });
}

void ScaleInPlace(const Context& context, MatrixView<float> x, float scale) {
  ForEachRow(context, x.rows, x.cols, [&](int64_t i) {
    float* row = x.row(i);
    for (int64_t j = 0; j < x.cols; ++j) row[j] *= scale;
  });
}

void ScaleRowsInPlace(const Context& context, MatrixView<float> x, const float* scales) {
  ForEachRow(context, x.rows, x.cols, [&](int64_t i) {
    float* row = x.row(i);
    for (int64_t j = 0; j < x.cols; ++j) row[j] *= scales[i];
  });
}

void RoundToBf16InPlace(const Context& context, MatrixView<float> x) {
  ForEachRow(context, x.rows, x.cols, [&](int64_t i) {
    float* row = x.row(i);
    for (int64_t j = 0; j < x.cols; ++j) row[j] = RoundToBf16(row[j]);
  });
}

}  // namespace latentd
