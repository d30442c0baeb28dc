// Projections on the vector paths: what is packed, and how the work is cut.
#pragma once

#include "kernels/core/context.h"
#include "kernels/cpu/table.h"
#include "kernels/linear.h"

namespace latentd {

// REQUIRES: shapes already checked by Linear() and LinearTransposed(); no empty product.
void LinearTiled(const Context& context, const CpuKernels& kernels, const LinearArgs& args);
void LinearTransposedTiled(const Context& context, const CpuKernels& kernels,
                           const LinearTransposedArgs& args);

}  // namespace latentd
