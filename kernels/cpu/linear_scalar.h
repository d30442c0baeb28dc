// The oracle of kernels/linear.h: one output at a time, ascending k. Kept for ever.
#pragma once

#include "kernels/core/context.h"
#include "kernels/linear.h"

namespace latentd {

// REQUIRES: shapes already checked by Linear() and LinearTransposed().
void LinearScalar(const Context& context, const LinearArgs& args);
void LinearTransposedScalar(const Context& context, const LinearTransposedArgs& args);

}  // namespace latentd
