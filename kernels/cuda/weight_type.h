// Element types that weights may have on the device.
#pragma once

#include "kernels/core/check.h"
#include "kernels/core/dtype.h"
#include "kernels/cuda/host_device.h"

namespace latentd::cuda {

LATENTD_HD inline float Widen(float value) { return value; }
LATENTD_HD inline float Widen(f16 value) { return ToFloat(value); }
LATENTD_HD inline float Widen(bf16 value) { return ToFloat(value); }

// What an activation is rounded to before it meets a weight of type T (kernels/linear.h).
template <typename T>
LATENTD_HD float RoundFor(float x) {
  return x;
}
template <>
LATENTD_HD inline float RoundFor<bf16>(float x) {
  return RoundToBf16(x);
}

// Calls run(T()) with the type of `dtype`'s elements. Aborts when it is quantised.
template <typename Run>
void ForWeightType(DType dtype, const Run& run) {
  LATENTD_CHECK(!IsQuantised(dtype) && "only Linear and ExpertMlps take quantised weights");
  if (dtype == DType::kF32) return run(float());
  if (dtype == DType::kF16) return run(f16());
  run(bf16());
}

}  // namespace latentd::cuda
