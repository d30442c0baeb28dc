#include "kernels/norm.h"

#include <cmath>

#include "kernels/core/check.h"
#include "kernels/core/rows.h"

namespace latentd {
namespace {

// Σ x², the same bits on every path: element j goes to partial sum j mod 16, and the sixteen fold
// by halves. The inner loop has independent lanes, so the compiler may vectorise it as it stands.
float SumOfSquares(const float* x, int64_t count) {
  constexpr int64_t kLanes = 16;
  float sums[kLanes] = {};
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += x[j + lane] * x[j + lane];
  }
  for (int64_t lane = 0; j + lane < count; ++lane) sums[lane] += x[j + lane] * x[j + lane];
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

float InverseRoot(float sum, int64_t count, float epsilon) {
  return 1 / std::sqrt(sum / static_cast<float>(count) + epsilon);
}

}  // namespace

void RmsNorm(const Context& context, MatrixView<const float> x, const float* weight, float epsilon,
             MatrixView<float> y) {
  LATENTD_CHECK(x.rows == y.rows && x.cols == y.cols && (x.cols > 0 || x.rows == 0));
  ForEachRow(context, x.rows, x.cols, [&](int64_t i) {
    const float* from = x.row(i);
    float* to = y.row(i);
    const float rho = InverseRoot(SumOfSquares(from, x.cols), x.cols, epsilon);
    if (weight == nullptr) {
      for (int64_t j = 0; j < x.cols; ++j) to[j] = from[j] * rho;
    } else {
      for (int64_t j = 0; j < x.cols; ++j) to[j] = weight[j] * (from[j] * rho);
    }
  });
}

void InverseRms(const Context& context, MatrixView<const float> x, const float* extra,
                int64_t extra_count, float epsilon, float* out) {
  LATENTD_CHECK(extra_count >= 0 && (x.cols + extra_count > 0 || x.rows == 0));
  ForEachRow(context, x.rows, x.cols, [&](int64_t i) {
    const float sum = SumOfSquares(x.row(i), x.cols);
    out[i] = InverseRoot(extra != nullptr ? sum + extra[i] : sum, x.cols + extra_count, epsilon);
  });
}

}  // namespace latentd
