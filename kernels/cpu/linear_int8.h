// Projections with int8 weights (kernels/quantise.h).
#pragma once

#include "kernels/core/context.h"
#include "kernels/cpu/table.h"
#include "kernels/linear.h"

namespace latentd {

// Both give the same bits, whatever the kernels. REQUIRES: shapes already checked by Linear();
// w is kInt8, batch is 1, no empty product.
void LinearInt8(const Context& context, const Int8Kernels& kernels, const LinearArgs& args);
void LinearInt8Scalar(const Context& context, const LinearArgs& args);

}  // namespace latentd
