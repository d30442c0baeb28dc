// Small row operators.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/core/context.h"
#include "kernels/core/tensor.h"

namespace latentd {

// out[i, :] = float(table[ids[i], :]). REQUIRES: every id < table.rows; the table is not
// quantised.
void Embedding(const Context& context, std::span<const uint32_t> ids, const WeightView& table,
               MatrixView<float> out);
// gate = silu(gate) ⊙ up, silu(x) = x / (1 + e^(−x)).
void SiluMul(const Context& context, MatrixView<float> gate, MatrixView<const float> up);
// x += scale · y.
void AddInPlace(const Context& context, MatrixView<float> x, MatrixView<const float> y,
                float scale = 1);
// x *= scale.
void ScaleInPlace(const Context& context, MatrixView<float> x, float scale);
// x[i, :] *= scales[i].
void ScaleRowsInPlace(const Context& context, MatrixView<float> x, const float* scales);
// x = round-to-bf16(x), the value the cache will hold.
void RoundToBf16InPlace(const Context& context, MatrixView<float> x);

}  // namespace latentd
