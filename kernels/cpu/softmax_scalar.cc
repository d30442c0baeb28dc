#include "kernels/cpu/softmax_scalar.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/dtype.h"

namespace latentd {

float SoftmaxWeightsScalar(float* scores, int64_t count, float scale, float* largest) {
  *largest = std::max(*largest, scale * *std::max_element(scores, scores + count));
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    scores[i] = RoundToBf16(std::exp(scale * scores[i] - *largest));
    sum += scores[i];
  }
  return sum;
}

}  // namespace latentd
