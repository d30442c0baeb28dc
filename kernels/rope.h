// Rotary position embedding.
#pragma once

#include <span>

#include "kernels/core/context.h"
#include "kernels/core/tensor.h"

namespace latentd {

// Fills angles[i] = [cos(p·f_0) … cos(p·f_{n−1}), sin(p·f_0) …] · magnitude for p = positions[i],
// computed in double. inv_freq: [n], angles: [positions.size(), 2n].
void RopeAngles(std::span<const int32_t> positions, std::span<const double> inv_freq,
                float magnitude, MatrixView<float> angles);

// Rotates in place: row i, whose rotary vector is its cols (= 2n) values, by angles row
// i / rows_per_angle. interleaved: pairs (2j, 2j+1); otherwise (j, j+n). Rotated pairs stay in
// place.
void Rope(const Context& context, MatrixView<float> x, MatrixView<const float> angles,
          int64_t rows_per_angle, bool interleaved);

}  // namespace latentd
