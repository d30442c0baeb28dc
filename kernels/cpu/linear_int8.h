// Projections with int8 or int4 weights in blocks (kernels/quantise.h), of int8 tokens.
#pragma once

#include "kernels/core/context.h"
#include "kernels/cpu/table.h"
#include "kernels/linear.h"

namespace latentd {

// Both give the same bits, whatever the kernels, which are those of w's format. REQUIRES: shapes
// already checked by Linear(); w is blocked, batch is 1, no empty product.
void LinearInt8(const Context& context, const Int8Kernels& kernels, const LinearArgs& args);
void LinearInt8Scalar(const Context& context, const LinearArgs& args);

}  // namespace latentd
