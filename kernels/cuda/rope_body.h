// Rope: a thread for each pair.
#pragma once

#include "kernels/cuda/body.h"

namespace latentd::cuda {

// The lanes of pair j.
struct RotaryPair {
  int64_t first;
  int64_t second;
};
LATENTD_HD constexpr RotaryPair PairOf(int64_t j, int64_t pairs, bool interleaved) {
  return interleaved ? RotaryPair{2 * j, 2 * j + 1} : RotaryPair{j, j + pairs};
}

// By the angles of one position, [cos × pairs, sin × pairs].
LATENTD_HD inline void Rotate(const float* angles, int64_t j, int64_t pairs, float& a, float& b) {
  const float cosine = angles[j], sine = angles[pairs + j];
  const float turned = a * cosine - b * sine;
  b = a * sine + b * cosine;
  a = turned;
}

struct RopeBody : ElementGrid {  // rows × pairs
  MatrixView<float> x;
  MatrixView<const float> angles;
  int64_t rows_per_angle;
  bool interleaved;

  LATENTD_HD void Run(int, int64_t block, int thread, Thread&, Shared&) const {
    const int64_t i = Element(block, thread), pairs = cols;
    if (i >= rows * pairs) return;
    const int64_t row = i / pairs, j = i % pairs;
    const RotaryPair pair = PairOf(j, pairs, interleaved);
    float* values = RowOf(x, row);
    float a = values[pair.first], b = values[pair.second];
    Rotate(RowOf(angles, row / rows_per_angle), j, pairs, a, b);
    values[pair.first] = a;
    values[pair.second] = b;
  }
};

inline RopeBody MakeRope(MatrixView<float> x, MatrixView<const float> angles,
                         int64_t rows_per_angle, bool interleaved) {
  LATENTD_CHECK(x.cols == angles.cols && x.cols % 2 == 0 && rows_per_angle >= 1);
  LATENTD_CHECK(x.rows == 0 || (x.rows - 1) / rows_per_angle < angles.rows);
  return {{x.rows, x.cols / 2}, x, angles, rows_per_angle, interleaved};
}

}  // namespace latentd::cuda
