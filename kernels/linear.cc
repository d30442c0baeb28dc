#include "kernels/linear.h"

#include "kernels/core/check.h"
#include "kernels/cpu/linear_int8.h"
#include "kernels/cpu/linear_scalar.h"
#include "kernels/cpu/linear_tiled.h"
#include "kernels/cpu/table.h"
#include "kernels/linear_shapes.h"

namespace latentd {

void Linear(const Context& context, const LinearArgs& args) {
  CheckProduct(args, args.w.rows, args.w.cols);
  LATENTD_CHECK(!IsQuantised(args.w.dtype) || args.batch == 1);
  if (args.x.rows == 0 || args.w.rows == 0 || args.batch == 0) return;
  const CpuKernels* kernels = KernelsOf(context.cpu_path);
  if (kernels == nullptr) return LinearScalar(context, args);
  if (IsBlocked(args.w.dtype)) {
    const Int8Kernels& int8 = args.w.dtype == DType::kInt8 ? kernels->int8 : kernels->int4;
    return LinearInt8(context, int8, args);
  }
  LinearTiled(context, *kernels, args);
}

void LinearTransposed(const Context& context, const LinearTransposedArgs& args) {
  CheckProduct(args, args.w.cols, args.w.rows);
  LATENTD_CHECK(!IsQuantised(args.w.dtype));
  if (args.x.rows == 0 || args.w.cols == 0 || args.batch == 0) return;
  if (const CpuKernels* kernels = KernelsOf(context.cpu_path)) {
    LinearTransposedTiled(context, *kernels, args);
  } else {
    LinearTransposedScalar(context, args);
  }
}

}  // namespace latentd
