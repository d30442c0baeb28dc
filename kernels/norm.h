// Root-mean-square norms. ρ(x) = (mean(x²) + ε)^(−1/2), all in fp32 with a fixed summation order.
#pragma once

#include "kernels/core/context.h"
#include "kernels/core/tensor.h"

namespace latentd {

// y[i, :] = weight ⊙ x[i, :] · ρ(x[i, :]). y may be x. weight is [cols] fp32, or null for none.
void RmsNorm(const Context& context, MatrixView<const float> x, const float* weight, float epsilon,
             MatrixView<float> y);

// out[i] = ρ of row i, with `extra` (nullable, [rows]) added to the sum of squares and
// `extra_count` to the number of elements (the unified key norm: ‖k_R‖² of the token, d_r).
void InverseRms(const Context& context, MatrixView<const float> x, const float* extra,
                int64_t extra_count, float epsilon, float* out);

}  // namespace latentd
