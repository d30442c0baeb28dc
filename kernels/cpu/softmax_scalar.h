// Weights of one row of scores, plain.
#pragma once

#include <cstdint>

namespace latentd {

constexpr int64_t kSoftmaxLanes = 16;  // rows of scores are padded with −∞ to a multiple of this

// See CpuKernels::softmax_weights.
float SoftmaxWeightsScalar(float* scores, int64_t count, float scale, float* largest);

}  // namespace latentd
