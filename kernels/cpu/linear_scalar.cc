#include "kernels/cpu/linear_scalar.h"

#include "kernels/core/check.h"
#include "kernels/core/rows.h"
#include "kernels/core/scratch.h"
#include "kernels/cpu/linear_int8.h"
#include "kernels/dequantise.h"

namespace latentd {
namespace {

float Widen(float value) { return value; }
float Widen(f16 value) { return ToFloat(value); }
float Widen(bf16 value) { return ToFloat(value); }

// What x is rounded to before it meets a weight of type T.
template <typename T>
float RoundFor(float x) {
  return x;
}
template <>
float RoundFor<bf16>(float x) {
  return RoundToBf16(x);
}

// Σ_k round(x[k]) · w[k · stride]
template <typename T>
float Dot(const float* x, const T* w, int64_t stride, int64_t count) {
  float sum = 0;
  for (int64_t k = 0; k < count; ++k) sum += RoundFor<T>(x[k]) * Widen(w[k * stride]);
  return sum;
}

template <typename T>
void Run(const Context& context, const LinearArgs& args) {
  const int64_t columns = args.w.rows;
  ForEachRow(context, args.batch * columns, args.x.rows * args.x.cols, [&](int64_t item) {
    const int64_t b = item / columns;
    const int64_t n = item % columns;
    const T* w = static_cast<const T*>(args.w.data) + b / args.w_batch_share * args.w_batch_stride;
    for (int64_t m = 0; m < args.x.rows; ++m) {
      const float* x = args.x.row(m) + b * args.x_batch_stride;
      const float sum = Dot(x, w + n * args.w.ld, 1, args.x.cols);
      args.y.row(m)[b * args.y_batch_stride + n] = args.bias != nullptr ? sum + args.bias[n] : sum;
    }
  });
}

void RunQuantised(const Context& context, const LinearArgs& args) {
  ForEachRow(context, args.w.rows, args.x.rows * args.x.cols, [&](int64_t n) {
    thread_local Scratch scratch;
    auto* w = scratch.GetArray<float>(args.w.cols);
    DequantiseRow(args.w, n, w);
    for (int64_t m = 0; m < args.x.rows; ++m) {
      const float sum = Dot(args.x.row(m), w, 1, args.x.cols);
      args.y.row(m)[n] = args.bias != nullptr ? sum + args.bias[n] : sum;
    }
  });
}

template <typename T>
void RunTransposed(const Context& context, const LinearTransposedArgs& args) {
  const int64_t columns = args.w.cols;
  ForEachRow(context, args.batch * columns, args.x.rows * args.x.cols, [&](int64_t item) {
    const int64_t b = item / columns;
    const int64_t n = item % columns;
    const T* w = static_cast<const T*>(args.w.data) + b / args.w_batch_share * args.w_batch_stride;
    for (int64_t m = 0; m < args.x.rows; ++m) {
      const float* x = args.x.row(m) + b * args.x_batch_stride;
      args.y.row(m)[b * args.y_batch_stride + n] = Dot(x, w + n, args.w.ld, args.x.cols);
    }
  });
}

}  // namespace

void LinearScalar(const Context& context, const LinearArgs& args) {
  switch (args.w.dtype) {
    case DType::kF32:
      return Run<float>(context, args);
    case DType::kF16:
      return Run<f16>(context, args);
    case DType::kBF16:
      return Run<bf16>(context, args);
    case DType::kE4M3:
    case DType::kInt4:
      return RunQuantised(context, args);
    case DType::kInt8:
    case DType::kInt4Blocks:
      return LinearInt8Scalar(context, args);
  }
}

void LinearTransposedScalar(const Context& context, const LinearTransposedArgs& args) {
  switch (args.w.dtype) {
    case DType::kF32:
      return RunTransposed<float>(context, args);
    case DType::kF16:
      return RunTransposed<f16>(context, args);
    case DType::kBF16:
      return RunTransposed<bf16>(context, args);
    case DType::kE4M3:
    case DType::kInt4:
    case DType::kInt8:
    case DType::kInt4Blocks:
      LATENTD_CHECK(!"quantised weights are not read transposed");
  }
}

}  // namespace latentd
