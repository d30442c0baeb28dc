// The small row operators: a thread for each element.
#pragma once

#include <cmath>
#include <span>

#include "kernels/cuda/body.h"
#include "kernels/cuda/weight_type.h"

namespace latentd::cuda {

template <typename T>
struct EmbeddingBody : ElementGrid {
  const uint32_t* ids;
  const T* table;
  int64_t table_rows;
  int64_t table_ld;
  MatrixView<float> out;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t row = i / cols, j = i % cols;
    const int64_t id = ids[row];
    Require(id < table_rows);
    RowOf(out, row)[j] = Widen(table[id * table_ld + j]);
  }
};
// run(body), of the table's type.
template <typename Run>
void WithEmbedding(std::span<const uint32_t> ids, const WeightView& table, MatrixView<float> out,
                   const Run& run) {
  LATENTD_CHECK(out.rows == static_cast<int64_t>(ids.size()) && out.cols == table.cols);
  ForWeightType(table.dtype, [&](auto element) {
    using T = decltype(element);
    run(EmbeddingBody<T>{{out.rows, out.cols},
                         ids.data(),
                         static_cast<const T*>(table.data),
                         table.rows,
                         table.ld,
                         out});
  });
}

struct SiluMulBody : ElementGrid {
  MatrixView<float> gate;
  MatrixView<const float> up;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t row = i / cols, j = i % cols;
    float& value = RowOf(gate, row)[j];
    value = value / (1 + expf(-value)) * RowOf(up, row)[j];
  }
};
inline SiluMulBody MakeSiluMul(MatrixView<float> gate, MatrixView<const float> up) {
  LATENTD_CHECK(gate.rows == up.rows && gate.cols == up.cols);
  return {{gate.rows, gate.cols}, gate, up};
}

struct AddBody : ElementGrid {
  MatrixView<float> x;
  MatrixView<const float> y;
  float scale;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i >= rows * cols) return;
    const int64_t row = i / cols, j = i % cols;
    RowOf(x, row)[j] += scale * RowOf(y, row)[j];
  }
};
inline AddBody MakeAdd(MatrixView<float> x, MatrixView<const float> y, float scale) {
  LATENTD_CHECK(x.rows == y.rows && x.cols == y.cols);
  return {{x.rows, x.cols}, x, y, scale};
}

struct ScaleBody : ElementGrid {
  MatrixView<float> x;
  float scale;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread);
    if (i < rows * cols) RowOf(x, i / cols)[i % cols] *= scale;
  }
};
inline ScaleBody MakeScale(MatrixView<float> x, float scale) {
  return {{x.rows, x.cols}, x, scale};
}

}  // namespace latentd::cuda
