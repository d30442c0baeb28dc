#include "kernels/rope.h"

#include <cmath>

#include "kernels/core/check.h"
#include "kernels/core/rows.h"

namespace latentd {
namespace {

// Pair j is (x[j·step], x[j·step + apart]).
void RotateRow(float* x, const float* cosines, int64_t pairs, int64_t step, int64_t apart) {
  const float* sines = cosines + pairs;
  for (int64_t j = 0; j < pairs; ++j) {
    const float a = x[j * step];
    const float b = x[j * step + apart];
    x[j * step] = a * cosines[j] - b * sines[j];
    x[j * step + apart] = a * sines[j] + b * cosines[j];
  }
}

}  // namespace

void RopeAngles(std::span<const int32_t> positions, std::span<const double> inv_freq,
                float magnitude, MatrixView<float> angles) {
  const auto pairs = static_cast<int64_t>(inv_freq.size());
  LATENTD_CHECK(angles.rows == static_cast<int64_t>(positions.size()) && angles.cols == 2 * pairs);
  for (int64_t i = 0; i < angles.rows; ++i) {
    float* row = angles.row(i);
    for (int64_t j = 0; j < pairs; ++j) {
      const double angle = positions[i] * inv_freq[j];
      row[j] = static_cast<float>(std::cos(angle) * magnitude);
      row[pairs + j] = static_cast<float>(std::sin(angle) * magnitude);
    }
  }
}

void Rope(const Context& context, MatrixView<float> x, MatrixView<const float> angles,
          int64_t rows_per_angle, bool interleaved) {
  LATENTD_CHECK(x.cols == angles.cols && x.cols % 2 == 0 && rows_per_angle >= 1);
  LATENTD_CHECK(x.rows == 0 || (x.rows - 1) / rows_per_angle < angles.rows);
  const int64_t pairs = x.cols / 2;
  ForEachRow(context, x.rows, x.cols, [&](int64_t i) {
    const float* row_angles = angles.row(i / rows_per_angle);
    RotateRow(x.row(i), row_angles, pairs, interleaved ? 2 : 1, interleaved ? 1 : pairs);
  });
}

}  // namespace latentd
