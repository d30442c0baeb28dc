// The arithmetic of a partial softmax, the same in the decode kernel, in the combine kernel and in
// their emulation. Scores are in base 2: log2(e) is folded into the softmax scale.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/cuda/host_device.h"
#include "kernels/mla_attention.h"

namespace latentd::cuda {

constexpr float kNoScore = -std::numeric_limits<float>::infinity();  // largest of an empty sum

LATENTD_HD inline float Exp2(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return std::exp2(x);
#endif
}

// What a tile does to the sums of a row: they are multiplied by `correction`, and a score s enters
// as Exp2(s − shift). A row that saw no token yet (largest = −∞) gets weights of 0, never NaN.
struct TileStep {
  float largest;
  float shift;
  float correction;
};
LATENTD_HD inline TileStep StepTile(float largest, float tile_largest) {
  TileStep step;
  step.largest = fmaxf(largest, tile_largest);
  step.shift = step.largest == kNoScore ? 0.0f : step.largest;
  step.correction = Exp2(largest - step.shift);
  return step;
}

// sum = earlier.sum · earlier + later.sum · later, and the same for every lane.
struct FoldWeights {
  float largest;
  float earlier;
  float later;
};
// An empty side has a weight of 0, and the other one, whose weight is 1, keeps its bits.
LATENTD_HD inline FoldWeights WeighFold(float earlier_largest, float later_largest) {
  const float largest = fmaxf(earlier_largest, later_largest);
  const float shift = largest == kNoScore ? 0.0f : largest;
  return {largest, Exp2(earlier_largest - shift), Exp2(later_largest - shift)};
}
// One rounding order for both kernels, whatever the compiler would contract.
LATENTD_HD inline float Fold(const FoldWeights& weights, float earlier, float later) {
  return fmaf(later, weights.later, earlier * weights.earlier);
}

}  // namespace latentd::cuda
